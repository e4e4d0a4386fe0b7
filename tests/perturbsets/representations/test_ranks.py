from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.stats import percentileofscore
from torch.testing import assert_close

from augment import Digits
from perturbsets import SmallConvNet
from perturbsets.layer_outputs import LayerOutputs
from perturbsets.representations import MemoryBank, member_distances, rank_in_class, write_bank


def test_ranks_of_points_on_a_line() -> None:
    # Mean distances of the class to three others: 2, 4/3, 4/3, 2, 5. The second class lies elsewhere.
    line = torch.tensor([[0.0], [50.0], [1.0], [2.0], [51.0], [3.0], [7.0], [52.0], [53.0]])
    labels = torch.tensor([0, 6, 0, 0, 6, 0, 0, 6, 6])
    bank = MemoryBank({"fc": line}, labels)

    distances = member_distances(bank, "fc", [0, 6])
    points = torch.tensor([[1.5], [4.0], [3.9], [5.5], [99.0], [51.5], [1.0]])
    ranks = rank_in_class(points, torch.tensor([0, 0, 0, 0, 0, 6, 0]), bank, "fc", exclude=torch.tensor([-1] * 6 + [2]))

    assert_close(distances[0], torch.tensor([2, 4 / 3, 4 / 3, 2, 5], dtype=torch.float64))
    # Means 5/6, 2, 1.9, 2.5, 95, 5/6 (the others: 2, 4/3, 4/3, 2) and, with row 2 left out, 4/3.
    assert ranks.tolist() == [0.0, 60.0, 40.0, 80.0, 100.0, 0.0, 20.0]


def test_members_are_ranked_as_by_scipy() -> None:
    digits = Digits("test")
    pixels = digits.images.flatten(1)
    bank = MemoryBank({"pixels": pixels}, digits.labels)
    rows = bank.members(3)
    distances = torch.cdist(pixels[rows].double(), pixels[rows].double())
    means = distances.sort(1).values[:, 1:4].mean(1)

    ranks = rank_in_class(pixels[rows], digits.labels[rows], bank, "pixels", exclude=rows)

    expected = [percentileofscore(means.numpy(), value, kind="mean") for value in means.numpy()]
    assert_close(ranks, torch.tensor(expected).float())
    assert_close(float(ranks.mean()), 50.0)


def test_an_adversary_at_its_guide_has_its_rank(generator: torch.Generator) -> None:
    bank = MemoryBank({"fc": torch.randn(40, 5, generator=generator)}, torch.arange(40) % 2)
    rows = torch.tensor([7, 11])
    guides, classes = bank.features("fc", rows), bank.labels[rows]
    members = member_distances(bank, "fc", [0, 1])

    guide, same, outside = (
        rank_in_class(points, classes, bank, "fc", exclude=rows, members=members)
        for points in (guides, guides.clone(), guides + 100)
    )

    assert torch.equal(same - guide, torch.zeros(2))
    assert outside.tolist() == [100.0, 100.0]
    assert torch.equal(guide, rank_in_class(guides, classes, bank, "fc", exclude=rows))


def test_classes_of_fewer_than_four_are_refused_by_name() -> None:
    bank = MemoryBank({"fc": torch.rand(7, 2)}, torch.tensor([0, 1, 0, 1, 0, 1, 0]), ("ant", "bee"))
    point = torch.rand(1, 2)

    assert rank_in_class(point, torch.tensor([0]), bank, "fc").shape == (1,)
    with pytest.raises(ValueError, match=r"class 1 \(bee\) must have at least 4 images in the bank, got 3"):
        rank_in_class(point, torch.tensor([1]), bank, "fc")
    with pytest.raises(ValueError, match="class 2 must have at least 4 images in the bank, got 0"):
        rank_in_class(point, torch.tensor([2]), bank, "fc")
    with pytest.raises(ValueError, match=r"members must hold every class asked for, got none of \[0\]"):
        rank_in_class(point, torch.tensor([0]), bank, "fc", members={})
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        rank_in_class(point, torch.tensor([0]), bank, "fc", neighbours=0)
    with pytest.raises(ValueError, match="classes must be one for each of 1 points"):
        rank_in_class(point, torch.tensor([0, 0]), bank, "fc")


def test_digits_of_other_writers_rank_like_those_of_the_bank(tmp_path: Path) -> None:
    model, test = SmallConvNet().eval(), Digits("test")
    bank = write_bank(tmp_path / "bank.h5", model, "*", Digits("train"))
    with torch.no_grad():
        outputs = LayerOutputs(model, "*")(test.images)
    for layer, features in outputs.items():
        ranks = rank_in_class(features, test.labels, bank, layer)
        elsewhere = rank_in_class(features, (test.labels + 1) % 10, bank, layer)

        # Images of the class rank 50 on average; other writers lie further out, other digits far out.
        assert 45 < float(ranks.mean()) < 75
        assert float(elsewhere.mean()) > float(ranks.mean()) + 15
