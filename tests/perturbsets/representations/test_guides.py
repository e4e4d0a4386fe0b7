"""Pairs of sources and guides: of different classes, no image twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from perturbsets.representations import draw_guided_pairs


class Numbered:
    """Images of one pixel that tell their row, with classes."""

    name, classes = "numbered", ("a", "b", "c")

    def __init__(self, labels: Tensor) -> None:
        self.labels, self.indices = labels, torch.arange(len(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(rows)
        return (rows / len(self)).view(-1, 1, 1, 1).float(), self.labels[rows]


def rows_of(images: Tensor, data: Numbered) -> list[int]:
    return (images.flatten() * len(data)).round().long().tolist()


@pytest.mark.parametrize("shared", [True, False])
def test_pairs_have_different_classes_and_no_image_twice(shared: bool) -> None:
    data = Numbered(torch.arange(60) % 3)
    for seed in range(5):
        pairs = draw_guided_pairs(data, data, 20, shared=shared, generator=torch.Generator().manual_seed(seed))
        sources, guides = rows_of(pairs.sources, data), rows_of(pairs.guides, data)
        assert bool((pairs.source_labels != pairs.guide_labels).all())
        assert pairs.source_labels.tolist() == [row % 3 for row in sources]
        assert pairs.guide_rows.tolist() == guides
        assert len(set(sources)) == len(set(guides)) == 20
        assert not shared or not set(sources) & set(guides)


def test_only_images_that_the_model_has_right() -> None:
    class Threes(nn.Module):
        def forward(self, images: Tensor) -> Tensor:  # right for rows below 30 alone
            row = (images.flatten() * 60).round().long()
            return nn.functional.one_hot(torch.where(row < 30, row % 3, (row + 1) % 3), 3).float()

    data = Numbered(torch.arange(60) % 3)
    pairs = draw_guided_pairs(data, data, 10, model=Threes(), shared=True)
    assert max(rows_of(pairs.sources, data) + pairs.guide_rows.tolist()) < 30
    with pytest.raises(
        ValueError, match=r"count must be at most .* got 16: there are 1\d of .* model classifies correctly"
    ):
        draw_guided_pairs(data, data, 16, model=Threes(), shared=True)


@pytest.mark.parametrize("shared", [True, False])
def test_rare_classes_are_searched_for(shared: bool) -> None:
    data = Numbered((torch.arange(1000) % 50 == 0).long())  # 20 of a thousand are of another class
    pairs = draw_guided_pairs(data, data, 18, shared=shared, generator=torch.Generator().manual_seed(0))
    assert bool((pairs.source_labels != pairs.guide_labels).all())
    assert rows_of(pairs.sources, data) == pairs.source_rows.tolist()


def test_the_draw_is_the_generators() -> None:
    data = Numbered(torch.arange(60) % 3)
    first, second = (
        draw_guided_pairs(data, data, 9, generator=torch.Generator().manual_seed(4), batch=batch) for batch in (7, 60)
    )
    assert torch.equal(first.guide_rows, second.guide_rows)


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        (torch.arange(60) % 3, 0, "count must be at least 1, got 0"),
        (torch.full((60,), 2), 1, "there are 0 of images, among"),
        (torch.full((60,), -1), 1, "must have one class per image"),
        (torch.zeros(60, 4, 4, dtype=torch.long), 1, "must have one class per image"),
    ],
)
def test_what_makes_no_pairs_is_refused(labels: Tensor, count: int, message: str) -> None:
    data = Numbered(labels)
    with pytest.raises(ValueError, match=message):
        draw_guided_pairs(data, data, count)
