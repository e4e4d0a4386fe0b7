from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from perturbsets import share_interval
from perturbsets.representations import label_outcomes, transfer

SOURCE, GUIDE = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 2, 0, 2, 0, 1])


def test_every_pair_has_one_outcome_and_shares_are_exact() -> None:
    found = label_outcomes(torch.tensor([1, 2, 0, 1, 1, 0]), SOURCE, GUIDE)

    assert found.takes_guide.tolist() == [True, True, True, False, False, False]
    assert found.keeps_source.tolist() == [False, False, False, True, False, False]
    summary = found.summary()
    for name, count in (("takes_guide", 3), ("keeps_source", 1), ("other", 2)):
        assert summary[name] == share_interval(torch.arange(6) < count)._asdict()
    assert summary["pairs"] == 6


def test_transfer_counts_those_that_were_taken_on_the_first_network() -> None:
    first = label_outcomes(torch.tensor([1, 2, 0, 2, 2, 2]), SOURCE, GUIDE)  # 4 taken
    second = label_outcomes(torch.tensor([1, 2, 0, 1, 0, 1]), SOURCE, GUIDE)  # 3 of these, and 2 others
    ratios = {"conv": torch.tensor([0.5, 0.25, 1.0, 1.5, 0.75, 2.0])}
    summary = transfer(first, second, ratios).summary()

    assert summary["carried"] == share_interval(torch.arange(4) < 3)._asdict()
    assert summary["second"]["takes_guide"] == share_interval(torch.arange(6) < 5)._asdict()
    assert summary["layers"]["conv"]["ratio"]["mean"] == 1.0
    assert summary["layers"]["conv"]["nearer"] == share_interval(torch.arange(6) < 3)._asdict()


def test_nothing_taken_carries_nothing() -> None:
    none = label_outcomes(SOURCE, SOURCE, GUIDE)

    assert transfer(none, none).summary()["carried"] is None


@pytest.mark.parametrize(
    ("predictions", "guide", "message"),
    [
        (SOURCE[:3], GUIDE, "equally many and at least 1, got 3, 6 and 6"),
        (SOURCE, GUIDE.where(GUIDE != 1, 0), "of two classes, got the same one in row 0: leave these pairs out"),
    ],
)
def test_pairs_of_one_class_are_refused(predictions: Tensor, guide: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(label_outcomes)(predictions, SOURCE, guide)  # its hints refuse some first


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0, 0 and 0"):
        label_outcomes(SOURCE[:0], SOURCE[:0], GUIDE[:0])


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_ratios_that_are_none_are_refused(bad: float) -> None:
    found = label_outcomes(GUIDE, SOURCE, GUIDE)
    ratio = torch.ones(6)
    ratio[4] = bad

    with pytest.raises(ValueError, match="ratios of 'conv' must be 0 or more and finite, got others in row 4"):
        transfer(found, found, {"conv": ratio})


def test_other_pairs_are_refused() -> None:
    found = label_outcomes(GUIDE, SOURCE, GUIDE)

    with pytest.raises(ValueError, match=r"of the same pairs, got \{'first': 6, 'second': 5\}"):
        transfer(found, label_outcomes(GUIDE[1:], SOURCE[1:], GUIDE[1:]))
    with pytest.raises(ValueError, match=r"'conv': 2"):
        transfer(found, found, {"conv": torch.ones(2)})
