"""Reach, diversity and labels against closed forms, and the cheating sets by name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import RandomCorruption
from cvae import CVAE
from perturbsets import (
    DrawnChanges,
    LatentBall,
    NecessarySubset,
    OverApproximation,
    PixelBall,
    diagnose_set,
    radius_from_pairs,
)
from perturbsets.criteria import Finding, encodings
from perturbsets.criteria.overapproximation import Diversity
from tests.perturbsets.criteria_sets import (
    ClosedForm,
    LightPairs,
    honest,
    ignores_offsets,
    mixed,
    returns_everything,
    returns_only_x,
)


def test_reach_of_a_linear_set_is_the_largest_singular_value() -> None:
    basis = torch.randn(3, 64)

    def linear(images: Tensor, latents: Tensor) -> Tensor:
        return images + (latents @ basis).view_as(images)

    pairs = LightPairs(10, 2)
    model = ClosedForm(3, linear, lambda images, changed: torch.zeros(len(images), 3))
    result = OverApproximation(steps=40)(LatentBall(model, 2.0), pairs, generator=torch.Generator().manual_seed(0))

    # The farthest point of x + uA over a ball of radius r is r times the largest singular value away.
    exact = (2.0 * torch.linalg.svdvals(basis)[0]).square() / 64
    assert_close(result.reach, exact.expand(10), rtol=1e-3, atol=0)
    assert (result.reach <= exact * (1 + 1e-5)).all()
    assert_close(result.swing, result.reach)  # the centre is x itself
    assert_close(result.offsets.norm(dim=1), torch.full((10,), 2.0))
    assert result.source.tolist() == list(range(10))
    assert result.row.tolist() == list(range(0, 20, 2))


def test_reach_of_a_pixel_ball_is_its_radius() -> None:
    pairs = LightPairs(6, 2)  # every pixel is 0.3 from the bounds at least
    result = OverApproximation(steps=40)(PixelBall("l2", 0.2), pairs, generator=torch.Generator().manual_seed(0))

    assert_close(result.reach, torch.full((6,), 0.2**2 / 64), rtol=1e-4, atol=0)


def test_real_changes_are_those_of_the_pairs() -> None:
    pairs = LightPairs(8, 3)
    result = OverApproximation(steps=2, restarts=1, draws=2)(LatentBall(honest(), 1.0), pairs)
    change = (pairs.changed - pairs.clean).flatten(1).view(8, 3, 64)
    apart = torch.cdist(change, change).square().sum((1, 2)) / 6 / 64

    assert_close(result.real, change.square().mean((1, 2)))
    assert_close(result.real_reach, change.square().mean(2).amax(1))
    assert_close(result.real_diversity, apart, rtol=1e-4, atol=1e-7)
    summary = result.summary()
    assert summary["diversity"]["real"]["mean"] == pytest.approx(float(apart.mean()), rel=1e-4)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_single_changes_tell_nothing_of_diversity() -> None:
    summary = OverApproximation(steps=2, restarts=1, draws=2)(LatentBall(honest(), 1.0), LightPairs(8, 1)).summary()

    assert summary["diversity"]["mean"] > 0
    assert summary["diversity"]["sources"] == 0
    assert summary["diversity"]["real"] is summary["diversity"]["ratio"] is None


def test_distances_are_those_between_all_two_of_a_group(generator: torch.Generator) -> None:
    points = 1e3 + torch.randn(30, 1, 2, 4, generator=generator)  # far from zero: the sums cancel
    member = torch.arange(30) % 4
    found = Diversity(6)
    for part, group in zip(points.split(7), member.split(7), strict=True):
        found.add(part, group)

    for group in range(4):
        own = points[member == group].flatten(1).double()
        apart = torch.cdist(own, own, compute_mode="donot_use_mm_for_euclid_dist").square().sum() / 8
        assert_close(found.distance()[group].double(), apart / (len(own) * (len(own) - 1)), rtol=1e-6, atol=0)
    assert found.distance()[4:].tolist() == [0, 0]
    assert found.count.tolist() == [8, 8, 7, 7, 0, 0]


class Brightness(nn.Module):
    """Class 1 where the mean grey value is above a half, else class 0; sure of it in proportion."""

    def forward(self, images: Tensor) -> Tensor:
        above = images.flatten(1).mean(1) - 0.5
        return torch.stack([-above, above], 1)


def test_labels_are_lost_exactly_where_the_set_crosses_the_boundary() -> None:
    pairs = LightPairs(40, 3)
    means = pairs.clean.flatten(1).mean(1)
    pairs.labels = (means > 0.5).long()
    model = ClosedForm(
        1,
        lambda images, latents: images + 0.01 * latents[:, :, None, None],
        lambda images, changed: torch.zeros(len(images), 1),
    )
    radius = 4.0  # four hundredths of brightness
    result = OverApproximation(steps=10)(LatentBall(model, radius), pairs, reference=Brightness().train())
    kept = (means[::3] - 0.5).abs() > 0.01 * radius

    assert result.labels is not None
    assert result.labels.clean.all()
    assert torch.equal(result.labels.worst, kept)
    assert 0 < int(kept.sum()) < 40
    real = (pairs.changed.flatten(1).mean(1) > 0.5).long() == pairs.labels
    assert_close(result.labels.changed, real.float().view(40, 3).mean(1))
    assert result.labels.samples.mean() >= result.labels.worst.float().mean()
    summary = result.summary()["labels"]
    assert summary["worst"]["mean"] == pytest.approx(float(kept.float().mean()))
    assert summary["clean"]["mean"] == 1


def test_sources_without_labels_are_left_out_of_the_labels() -> None:
    pairs = LightPairs(12, 2)
    pairs.labels = torch.where(pairs.sources < 5, -1, 1)
    result = OverApproximation(steps=2, restarts=1, draws=2)(LatentBall(honest(), 1.0), pairs, reference=Brightness())

    assert result.labels is not None
    assert result.labels.source.tolist() == list(range(5, 12))
    pairs.labels = torch.full_like(pairs.labels, -1)
    with pytest.raises(ValueError, match="pairs must have labels"):
        OverApproximation(steps=2, restarts=1, draws=2)(LatentBall(honest(), 1.0), pairs, reference=Brightness())


def test_sets_that_can_only_be_drawn_are_measured_by_their_draws() -> None:
    result = OverApproximation(draws=3)(DrawnChanges(RandomCorruption(["contrast", "brightness"])), LightPairs(6, 2))

    assert (result.reach >= result.sampled * (1 - 1e-5)).all()  # samples count as found
    assert (result.reach > 0).all()


@pytest.mark.parametrize("name", ["steps", "restarts", "draws"])
def test_too_small_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        OverApproximation(**{name: 0})


def test_sets_that_give_nan_are_named_with_their_pairs() -> None:
    def broken(images: Tensor, latents: Tensor) -> Tensor:
        return torch.where(images[:, :1, :1, :1] < 0.5, math.nan, 1.0) * images

    model = ClosedForm(2, broken, lambda images, changed: torch.zeros(len(images), 2))
    with pytest.raises(ValueError, match=r"for 3 of 6 pairs \(0, 4, 8\)"):
        OverApproximation(steps=2, restarts=1, draws=2)(LatentBall(model, 1.0), LightPairs(6, 2))
    with pytest.raises(ValueError, match="at least one pair"):
        OverApproximation()(LatentBall(honest(), 1.0), LightPairs(0, 2))


def found_in(model: CVAE, share: float = 1.0) -> list[Finding]:
    """Findings of both criteria, by way of JSON, at a share of the radius that the pairs give."""
    pairs, draw = LightPairs(), torch.Generator().manual_seed(0)
    perturbations = LatentBall(model, share * radius_from_pairs(model, pairs), bank=encodings(model, pairs))
    necessary = NecessarySubset(steps=30, restarts=1, curve=())(perturbations, pairs, generator=draw).summary()
    around = OverApproximation()(perturbations, pairs, generator=draw).summary()
    plain = json.loads(json.dumps([necessary, around], allow_nan=False))
    findings = diagnose_set(*plain)
    json.dumps([finding.summary() for finding in findings], allow_nan=False)
    return findings


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (returns_everything, "returns everything"),
        (returns_only_x, "returns only x"),
        (ignores_offsets, "ignores the offsets"),
    ],
)
def test_each_cheating_set_is_named_and_by_no_other_name(model: Any, name: str) -> None:
    (finding,) = found_in(model())

    assert finding.name == name
    assert finding.figure == pytest.approx(1.0)
    assert finding.figure > finding.threshold


@pytest.mark.parametrize("share", [0.2, 1.0, 3.0])
def test_an_honest_set_is_named_nothing_at_whatever_radius(share: float) -> None:
    assert found_in(honest(), share) == []


def test_exact_collapse_has_radius_zero_and_is_named_too() -> None:
    model = ClosedForm(
        2,
        lambda images, latents: 0.2 + 0.6 * images + 0.1 * latents[:, :1, None, None],
        lambda images, changed: torch.zeros(len(images), 2),
    )
    (finding,) = found_in(model)

    assert finding.name == "ignores the offsets"
    assert finding.related["mean norm of the encodings"] == 0


def test_a_set_that_moves_a_part_of_the_way_to_anything_is_named_as_well() -> None:
    (finding,) = found_in(returns_everything(0.5))

    assert finding.name == "returns everything"
    assert finding.figure > 0.5


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (returns_everything, "returns everything"),
        (returns_only_x, "returns only x"),
        (ignores_offsets, "ignores the offsets"),
    ],
)
def test_a_set_that_cheats_on_half_of_the_images_is_named_with_how_many(model: Any, name: str) -> None:
    (finding,) = found_in(mixed(honest(), model()))

    assert finding.name == name
    assert finding.figure == pytest.approx(0.5, abs=0.02)


def test_summaries_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="got some without 'copied'"):
        diagnose_set({}, {})
