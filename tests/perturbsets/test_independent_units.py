"""Rows that belong together count once, wherever an interval is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from augment import (
    ChangedPairs,
    Digits,
    GaussianNoise,
    PairStore,
    Patches,
    Portion,
    SegmentDigits,
    Source,
    group_numbers,
    write_pairs,
)
from perturbsets import Adversary, Coverage, OneStep, PixelBall, Smoothed, audit, evaluate, evaluate_robustness
from perturbsets.certificates import SmoothedLabels, SmoothedMaps
from perturbsets.criteria.pairs import by_clean_image
from perturbsets.knowledge import Rules, evaluate_rejection
from perturbsets.multi_label import flips, multi_label_scores, success_at_k, target_outcomes
from perturbsets.representations import label_outcomes, overlap_share, transfer

COUNT = 12
ONCE, TWICE = torch.arange(COUNT), torch.arange(COUNT).repeat(2)
VOTES: dict[str, Any] = {"selection": 4, "draws": 20, "alpha": 0.1}


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


IMAGES, CLASSES = drawn(COUNT, 1, 4, 4), torch.arange(COUNT) % 3
LOGITS, STATES = drawn(COUNT, 5) - 0.5, (drawn(COUNT, 5).flip(0) > 0.4).float()
ATTACK = Adversary(PixelBall("linf", 0.05), ascent=OneStep())


def classifier(*head: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), *head)


def maps() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv2d(1, 3, 1)


def of_transfer(rows: Tensor, groups: Tensor | None) -> Any:
    guide = torch.full_like(CLASSES, 3)
    first, second = (label_outcomes(CLASSES * scale, CLASSES, guide, None) for scale in (3, 2))
    one, other = (type(first)(x.takes_guide[rows], x.keeps_source[rows], groups) for x in (first, second))
    return transfer(one, other, {"a": drawn(COUNT)[rows]}).summary()


CALLS: dict[str, Callable[[Tensor, Tensor | None], Any]] = {
    "evaluate": lambda rows, groups: evaluate(
        {"a": [classifier(), classifier(nn.Tanh())], "b": classifier()},
        {"clean": None},
        IMAGES[rows],
        CLASSES[rows],
        groups=groups,
    ).differences("b"),
    "accuracy": lambda rows, groups: evaluate(
        {"a": classifier()}, {"clean": None}, IMAGES[rows], CLASSES[rows], groups=groups
    ).summary()["accuracy"],
    "evaluate_robustness": lambda rows, groups: (
        evaluate_robustness(
            classifier(), IMAGES[rows], CLASSES[rows], PixelBall("linf", 1e-4), steps=1, queries=2, groups=groups
        ).accuracy
    ),
    "audit": lambda rows, groups: (
        audit(ATTACK, classifier(), IMAGES[rows], classifier()(IMAGES[rows]).argmax(1), groups=groups, draws=2).accuracy
    ),
    "multi_label_scores": lambda rows, groups: [
        multi_label_scores(LOGITS[rows], STATES[rows], groups).summary()[name]
        for name in ("micro_f1", "hamming_loss", "ranking_loss", "exact_match", "independent")
    ],
    "flips": lambda rows, groups: {**flips(LOGITS[rows] > 0, STATES[rows], groups).summary(), "images": None},
    "target outcomes": lambda rows, groups: {
        **target_outcomes(LOGITS[rows] > 0, STATES[rows], STATES[rows], groups).summary(),
        "images": None,
        "asked": None,
    },
    "success_at_k": lambda rows, groups: success_at_k(LOGITS[rows], STATES[rows], 2, groups),
    "transfer": lambda rows, groups: [
        {name: shares for name, shares in entry.items() if name != "pairs"} if isinstance(entry, dict) else entry
        for entry in of_transfer(rows, groups).values()
    ],
    "overlap_share": lambda rows, groups: overlap_share((CLASSES + 1)[rows], 2, groups),
    "rejection": lambda rows, groups: evaluate_rejection(drawn(COUNT)[rows], CLASSES[rows] == 1, 0.6, groups).summary(),
    "violation_share": lambda rows, groups: (
        Rules(("x", "y"), {"0": "x", "1": "not x"})
        .bind(["x", "y"], ["0", "1"])
        .violation_share((CLASSES > 0).long()[rows], STATES[rows, :2], groups)
    ),
    "Smoothed": lambda rows, groups: (
        Smoothed(classifier(), PixelBall("l2", 1.0), 0.1)
        .certify(IMAGES[rows], **VOTES, labels=CLASSES[rows], groups=groups, seeds=rows)
        .summary()["curve"]
    ),
    "SmoothedLabels": lambda rows, groups: (
        SmoothedLabels(classifier(), PixelBall("l2", 1.0), 0.1)
        .certify(IMAGES[rows], **VOTES, labels=STATES[rows, :3], groups=groups, seeds=rows)
        .summary()["curve"]
    ),
    "SmoothedMaps": lambda rows, groups: (
        SmoothedMaps(maps(), PixelBall("l2", 1.0), 0.1)
        .certify(IMAGES[rows], **VOTES, labels=(IMAGES[rows, 0] > 0.5).long(), groups=groups, seeds=rows)
        .summary()["accuracy"]
    ),
}


def numbers(found: Any) -> list[Any]:
    """All numbers of a summary in order."""
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers(value)]
    if isinstance(found, list | tuple):
        return [number for value in found for number in numbers(value)]
    return [found]


@pytest.mark.parametrize("name", CALLS)
def test_images_that_come_twice_tell_no_more_than_once(name: str) -> None:
    once, twice, naive = (
        numbers(CALLS[name](rows, groups)) for rows, groups in ((ONCE, None), (TWICE, TWICE), (TWICE, None))
    )

    assert twice == pytest.approx(once, abs=1e-9)
    assert naive != pytest.approx(once, abs=1e-9)  # without groups intervals are too narrow


def test_sources_tell_what_belongs_together() -> None:
    train, test = Patches("train", stride=16), Patches("test", stride=16)
    digits = SegmentDigits("train", size=12, digit=12, copies=2)

    assert len(train) / len(train.groups.unique()) == 9  # three by three patches in each block
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    corners = train.corners[train.groups == train.groups[-1]]
    assert len(corners[:, 0].unique()) == 1  # one photograph
    assert int((corners.amax(0) - corners.amin(0)).max()) <= train.size  # one block of twice the size
    assert torch.equal(digits.groups, digits.indices % 1797)
    assert torch.equal(Portion(train, 5, 60, 3).groups, train.groups[5:60:3])
    assert torch.equal(group_numbers(Digits("test")), Digits("test").indices)


def test_portions_of_whole_groups_share_none() -> None:
    whole = Patches("test", stride=16)
    first, second = (Portion(whole, start, step=2, whole_groups=True) for start in (0, 1))

    assert sorted([*first.positions, *second.positions]) == list(range(len(whole)))
    assert not set(first.groups.tolist()) & set(second.groups.tolist())
    assert torch.equal(second.batch([3])[0], whole.batch([second.positions[3]])[0])
    assert len(Portion(whole, 0, 2, whole_groups=True)) == 18
    with pytest.raises(ValueError, match="must leave some of the 22 groups, got 0, 23 and 1"):
        Portion(whole, 0, 23, whole_groups=True)


def test_a_source_that_tells_too_few_groups_is_refused() -> None:
    class Wrong(Portion):
        @property
        def groups(self) -> Tensor:
            return torch.arange(3)

    with pytest.raises(ValueError, match=r"source\.groups must be one number for each of 300 images, got \[3\]"):
        group_numbers(Wrong(Digits("test")))


def test_pairs_of_one_block_are_of_one_source_and_lie_in_one_split(tmp_path: Path) -> None:
    whole = Patches("test", size=16, stride=16)

    def pairs(**how: Any) -> ChangedPairs:
        parts: dict[str, Source] = {name: Portion(whole, at, step=2, **how) for at, name in enumerate(("a", "b"))}
        return ChangedPairs(parts, GaussianNoise(), draws=2)

    with pytest.raises(ValueError, match=r"splits must not share groups.*whole_groups=True"):
        pairs().plan()
    write_pairs(tmp_path / "pairs.h5", pairs(whole_groups=True))  # as the message says
    store = PairStore(tmp_path / "pairs.h5", "a")
    blocks = Portion(whole, 0, step=2, whole_groups=True).groups
    batches = list(by_clean_image(store))

    assert len(store) == 2 * len(blocks)
    assert len(store.sources.unique()) == len(blocks.unique())
    assert sum(len(batch.source) for batch in batches) == len(blocks)  # what depends on a clean image is asked of each
    assert all(bool((batch.clean[batch.first][batch.member] == batch.clean).all()) for batch in batches)
    certificate = Coverage(tolerance=1.0, alpha=0.05, steps=1, restarts=1)(PixelBall("linf", 0.1), store)
    assert len(certificate.errors) == len(blocks.unique())  # one random pair of a block
