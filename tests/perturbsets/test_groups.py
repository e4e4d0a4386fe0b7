"""Means group by group, and the walk through pairs source by source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from augment import ChangedPairs, Digits, PairStore, RandomCorruption, write_pairs
from perturbsets import by_group, mean_interval
from perturbsets.criteria import Grouping, groups_of
from perturbsets.criteria.pairs import by_clean_image
from tests.perturbsets.criteria_sets import LightPairs


def test_means_and_shares_are_those_of_the_rows_alone(generator: torch.Generator) -> None:
    values, over = torch.rand(60, generator=generator), 1 + torch.rand(60, generator=generator)
    source, number = torch.arange(60) // 3, torch.arange(60) % 4 - 1
    found = by_group(values, {"way": Grouping(number, ("a", "b", "c", "empty"))}, source, over=over)["way"]

    assert sorted(found) == ["a", "b", "c"]
    for index, name in enumerate("abc"):
        rows = number == index
        mean, share = (
            mean_interval(values[rows], source[rows]),
            mean_interval(values[rows], source[rows], over=over[rows]),
        )
        assert found[name]["pairs"] == int(rows.sum())
        assert found[name]["sources"] == len(source[rows].unique())
        assert [found[name][key] for key in ("mean", "low", "high")] == list(mean)
        assert [found[name][key] for key in ("share", "share_low", "share_high")] == list(share)


def test_what_cannot_be_said_is_none() -> None:
    one = {"way": Grouping(torch.zeros(3, dtype=torch.long), ("only",))}
    entry = by_group(torch.ones(3), one, torch.zeros(3, dtype=torch.long), over=torch.zeros(3))["way"]["only"]

    assert entry["mean"] == 1
    assert [entry[name] for name in ("low", "high", "share", "share_low", "share_high")] == [None] * 5


def test_a_pair_file_tells_corruption_severity_and_class(tmp_path: Path) -> None:
    change = RandomCorruption(["fog", "contrast"], severities=(1, 3, 5))
    plan = ChangedPairs({"test": Digits("test", size=16)}, change, draws=2)
    write_pairs(tmp_path / "pairs.h5", plan)
    store = PairStore(tmp_path / "pairs.h5", split="test")
    groups = groups_of(store)

    assert {name: grouping.names for name, grouping in groups.items() if name != "class"} == {
        "condition": ("fog", "contrast"),
        "severity": ("1", "3", "5"),
    }
    severity = store.parameters[:, store.parameter_names.index("severity")]
    named = torch.tensor([int(groups["severity"].names[number]) for number in groups["severity"].number])
    assert_close(named, severity.long())
    assert groups["class"].names == tuple("0123456789")
    assert torch.equal(groups["class"].number, store.labels)


def test_pairs_that_know_no_groups_have_none(memory_pairs: Any) -> None:
    images = torch.rand(4, 1, 2, 2)

    assert groups_of(memory_pairs(images, images, torch.arange(4))) == {}


@pytest.mark.parametrize("size", [1, 7, 256])
@pytest.mark.parametrize("kept", [True, False])
def test_every_pair_comes_once_beside_the_others_of_its_source(memory_pairs: Any, size: int, kept: bool) -> None:
    pairs: Any = LightPairs(11, 3)
    order = torch.randperm(33)
    for name in ("clean", "changed", "sources", "labels"):
        setattr(pairs, name, getattr(pairs, name)[order])
    given = pairs if kept else memory_pairs(pairs.clean, pairs.changed, pairs.sources)
    seen = []
    for batch in by_clean_image(given, size=size):
        assert len(batch.clean) <= max(size, 3)
        own = batch.source[batch.member]
        assert_close(batch.clean[batch.first][batch.member], batch.clean)
        assert_close(pairs.clean[batch.row], batch.clean[batch.first])
        assert torch.equal(pairs.sources[batch.row], batch.source)
        assert torch.equal(batch.label, pairs.labels[batch.row] if kept else torch.zeros_like(batch.source))
        seen += own.tolist()
    assert seen == sorted(pairs.sources.tolist())
    assert_close(
        torch.cat([b.changed for b in by_clean_image(given, size=size)]),
        pairs.changed[pairs.sources.argsort(stable=True)],
    )
