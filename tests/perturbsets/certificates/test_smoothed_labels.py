from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from perturbsets.certificates import ABSTAIN, SmoothedLabels
from perturbsets.share_bounds import share_at_least
from tests.perturbsets.certificates.linear import WIDE

SIGMA = 0.3
PIXELS = nn.Flatten()  # a label for each pixel, on where the pixel is above 0: shares of votes are known


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(distances: Tensor) -> Tensor:
    """Images whose pixels lie so many standard deviations above 0."""
    return (SIGMA * distances).view(-1, 1, 2, 3)


def test_each_label_has_its_own_radius() -> None:
    distances = torch.tensor([[0.8, -0.8, 1.5, -1.5, 0.0, 0.02]]).expand(20, -1)
    draws = 3000
    result = SmoothedLabels(PIXELS, WIDE, SIGMA, batch=4096).certify(
        at(distances), selection=200, draws=draws, alpha=0.01, labels=distances > 0, generator=draw()
    )

    assert (result.classes[:, :4] == torch.tensor([1, 0, 1, 0])).all()
    assert (result.classes[:, 4:] == ABSTAIN).all()
    # Votes are binomial, the bound has a sixth of the level, and the radius is at most the distance.
    shares = stats.norm.cdf(distances[:, :4].abs().numpy())
    low, high = (torch.from_numpy(stats.binom.ppf(q, draws, shares)).long() for q in (1e-6, 1 - 1e-6))
    radii = [SIGMA * torch.special.ndtri(share_at_least(counts, draws, 0.01 / 6)) for counts in (low, high)]
    assert ((radii[0] <= result.radii[:, :4]) & (result.radii[:, :4] <= radii[1])).all()
    assert (result.radii[:, :4] <= SIGMA * distances[:, :4].abs()).all()
    assert (result.radii[:, 4:] == 0).all()


@pytest.mark.parametrize("correction", ["bonferroni", "none"])
def test_the_chance_of_error_is_that_of_all_labels_or_of_each(correction: Any) -> None:
    distance, alpha, repeats, draws = 0.5, 0.2, 2000, 60
    images = at(torch.full((repeats, 6), distance))
    result = SmoothedLabels(PIXELS, WIDE, SIGMA, batch=4096, correction=correction).certify(
        images, selection=100, draws=draws, alpha=alpha, generator=draw()
    )
    wrong = result.radii > SIGMA * distance
    level = alpha / 6 if correction == "bonferroni" else alpha

    def exact(level: float) -> float:
        possible = share_at_least(torch.arange(draws + 1), draws, level) > stats.norm.cdf(distance)
        return float(stats.binom.pmf(range(draws + 1), draws, stats.norm.cdf(distance))[possible.numpy()].sum())

    each = exact(level)
    assert 0.3 * level < each <= level
    assert abs(float(wrong.double().mean()) - each) < 5 * math.sqrt(each / wrong.numel())
    together = float(wrong.any(1).double().mean())
    assert together < alpha if correction == "bonferroni" else together > 2 * alpha


def test_labels_of_images_are_counted_apart_and_together() -> None:
    distances = torch.tensor([[2.0] * 6, [2.0] * 5 + [0.0], [-2.0] * 6, [2.0] * 6])
    labels = torch.tensor([[1] * 6, [1] * 6, [1] * 6, [1, 1, 1, 0, 0, 0]])
    result = SmoothedLabels(PIXELS, WIDE, SIGMA).certify(
        at(distances), selection=20, draws=200, alpha=0.01, labels=labels, generator=draw()
    )
    none, some, all_ = result.curve([0.0, float(result.radii.max()), 10.0])

    assert none["labels"]["mean"] == pytest.approx((6 + 5 + 0 + 3) / 24)
    assert none["images"]["mean"] == 0.25
    assert 0 < some["labels"]["mean"] < none["labels"]["mean"]
    assert all_["labels"]["mean"] == all_["images"]["mean"] == 0
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["certified"]["mean"] == pytest.approx(23 / 24)
    assert "all labels of an image together" in summary["sentence"]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_states_of_any_type_tell_what_is_correct(dtype: torch.dtype) -> None:
    labels = torch.tensor([[1, 0, 1, 1, 0, 1]]).to(dtype)
    result = SmoothedLabels(PIXELS, WIDE, SIGMA).certify(
        at(torch.full((1, 6), 2.0)), selection=20, draws=200, alpha=0.01, labels=labels, generator=draw()
    )

    assert result.correct().tolist() == [[True, False, True, True, False, True]]


def test_an_image_goes_on_while_any_label_may_be_certified() -> None:
    distances = torch.tensor([[0.0] * 5 + [2.0], [0.0] * 6])
    result = SmoothedLabels(PIXELS, WIDE, SIGMA).certify(
        at(distances), selection=20, draws=400, alpha=0.001, generator=draw()
    )

    assert result.classes.tolist() == [[ABSTAIN] * 5 + [1], [ABSTAIN] * 6]
    assert int(result.taken[0]) == 400
    assert int(result.taken[1]) < 400


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"correction": "holm"}, "correction"),
        ({"alpha": 1.0}, "alpha must be above 0 and below 1"),
        ({"labels": torch.zeros(2, 5, dtype=torch.int64)}, r"one class for each output, \[2, 6\]"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, r"labels must be states \[2, L\]"),
        ({"labels": torch.tensor([[1.0] * 6, [0.0] * 5 + [math.nan]])}, "none unknown, got NaN in row 1: leave"),
        ({"labels": torch.full((2, 6), math.nan)}, "none unknown, got NaN in rows 0, 1: leave"),
        ({"labels": torch.full((2, 6), 2)}, "labels must be 0, 1 or NaN, got 2 as label 0 of row 0"),
        ({"draws": 11, "alpha": 0.001}, "draws must be at least 13"),  # alpha has to do for six labels
    ],
)
def test_what_cannot_be_meant_is_refused(named: dict[str, Any], message: str) -> None:
    given = {"selection": 5, "draws": 50, "alpha": 0.01} | named
    settings = {"correction": given.pop("correction", "bonferroni")}
    with pytest.raises((ValueError, TypeError), match=message):  # the checker of types may come first
        SmoothedLabels(PIXELS, WIDE, SIGMA, **settings).certify(torch.rand(2, 1, 2, 3), **given)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model must return logits \[B, L\]"):
        SmoothedLabels(nn.Identity(), WIDE, SIGMA).certify(torch.rand(2, 1, 2, 3), selection=5, draws=50, alpha=0.01)
