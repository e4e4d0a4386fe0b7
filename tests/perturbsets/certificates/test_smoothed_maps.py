from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from perturbsets import SmallUNet
from perturbsets.certificates import ABSTAIN, SmoothedMaps
from perturbsets.certificates.segmentation import rejected
from tests.perturbsets.certificates.linear import WIDE

SIGMA = 0.3


class Sides(nn.Module):
    """Class 1 of a pixel where it is above 0."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(images), images], 1)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def holm(chances: list[float], alpha: float) -> list[bool]:
    """The procedure step by step."""
    out = [False] * len(chances)
    for step, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[place] > alpha / (len(chances) - step):
            break
        out[place] = True
    return out


def test_holm_rejects_step_by_step_and_bonferroni_no_more() -> None:
    chances = torch.rand(300, 7, dtype=torch.float64, generator=draw()) ** 4
    chances[0] = torch.tensor([0.01, 0.04, 0.03, 0.005, 1.0, 1.0, 0.0])

    found = rejected(chances, 0.05)
    assert found.tolist() == [holm(row, 0.05) for row in chances.tolist()]
    fewer = rejected(chances, 0.05, "bonferroni")
    assert torch.equal(fewer, chances <= 0.05 / 7)
    assert (found | ~fewer).all()
    assert (found & ~fewer).any()


def test_pixels_have_one_radius_or_abstain() -> None:
    # Shares of votes of 0.98, 0.5 and 0.02: sure, undecided, and sure of the other class.
    images = SIGMA * torch.tensor([2.0, 2.0, 0.0, 0.0, -2.0, -2.0]).view(1, 1, 2, 3).expand(8, -1, -1, -1)
    labels = torch.tensor([1, 0, 1, 0, 0, 255]).view(1, 2, 3).expand(8, -1, -1)
    result = SmoothedMaps(Sides(), WIDE, SIGMA).certify(
        images, selection=20, draws=200, alpha=0.001, labels=labels, generator=draw()
    )

    wanted = torch.tensor([1, 1, ABSTAIN, ABSTAIN, 0, 0]).view(2, 3)
    assert (result.classes == wanted).all()
    assert result.radius == pytest.approx(SIGMA * stats.norm.ppf(0.75))
    assert torch.allclose(result.abstained, torch.tensor(2 / 6, dtype=torch.float64))
    assert torch.allclose(result.accuracy, torch.tensor(2 / 5, dtype=torch.float64))  # of five that count
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["accuracy"]["mean"] == pytest.approx(0.4)
    assert "all pixels of an image together" in summary["sentence"]


@pytest.mark.parametrize("correction", ["holm", "bonferroni"])
def test_the_chance_that_any_pixel_is_wrong_is_at_most_alpha(correction: Any) -> None:
    alpha, repeats, pixels, threshold = 0.2, 1500, 12, 0.75
    at_threshold = SIGMA * stats.norm.ppf(threshold)  # where a certificate is as wrong as can be
    images = torch.full((repeats, 1, 3, 4), at_threshold)
    images[:, :, 0] = 4 * SIGMA  # correctly certified, which leaves Holm more for the others
    result = SmoothedMaps(Sides(), WIDE, SIGMA, batch=2048, threshold=threshold, correction=correction).certify(
        images, selection=60, draws=100, alpha=alpha, generator=draw()
    )

    wrong = int((result.classes != ABSTAIN)[:, 1:].flatten(1).any(1).sum())
    tests = pixels - 4 if correction == "holm" else pixels
    needed = next(k for k in range(101) if stats.binom.sf(k - 1, 100, threshold) <= alpha / tests)
    exact = 1 - (1 - stats.binom.sf(needed - 1, 100, threshold)) ** 8
    assert 0.05 < exact <= alpha
    assert abs(wrong / repeats - exact) < 0.03
    assert stats.binomtest(wrong, repeats, alpha, alternative="greater").pvalue > 0.01
    assert (result.classes[:, 0] == 1).all()


def test_hopeless_images_stop_and_a_higher_threshold_asks_for_more_votes() -> None:
    images = torch.cat([torch.full((1, 1, 2, 3), 3 * SIGMA), torch.zeros(1, 1, 2, 3)])
    low, high = (
        SmoothedMaps(Sides(), WIDE, SIGMA, threshold=threshold).certify(
            images, selection=20, draws=300, alpha=0.01, generator=draw()
        )
        for threshold in (0.6, 0.9)
    )

    assert low.taken.tolist()[0] == high.taken.tolist()[0] == 300
    assert high.taken[1] < low.taken[1] < 300
    assert high.radius > low.radius


def test_an_image_alone_has_the_votes_it_has_in_a_batch() -> None:
    model, images = SmallUNet(classes=3, height=8, width=8, channels=1), torch.rand(4, 1, 8, 8).double()
    whole = SmoothedMaps(model.double(), WIDE, SIGMA, batch=100).certify(
        images, selection=10, draws=60, alpha=0.01, generator=draw()
    )
    alone = SmoothedMaps(model, WIDE, SIGMA, batch=7).certify(
        images[2:3], selection=10, draws=60, alpha=0.01, seeds=whole.seeds[2:3]
    )

    assert torch.equal(alone.classes, whole.classes[2:3])
    assert torch.equal(alone.agreed, whole.agreed[2:3])
    assert list(whole.classes.shape) == [4, 8, 8]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"threshold": 0.4}, "threshold must be a share of the votes in"),
        ({"threshold": 1.0}, "threshold must be a share of the votes in"),
        ({"threshold": math.nan}, "threshold must be a share of the votes in"),
        ({"alpha": 0.0}, "alpha must be above 0 and below 1"),
        ({"correction": "none"}, "correction"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, "labels must be a class number per pixel"),
        ({"labels": torch.zeros(2, 2, 3)}, "labels must be a class number per pixel"),
        ({"labels": torch.zeros(2, 3, 2, dtype=torch.int64)}, r"one class for each output, \[2, 2, 3\]"),
        ({"draws": 10}, "draws must be at least 23"),  # 0.75^n <= 0.01 / 6 pixels
    ],
)
def test_what_cannot_be_meant_is_refused(named: dict[str, Any], message: str) -> None:
    given = {"selection": 5, "draws": 50, "alpha": 0.01} | named
    settings = {name: given.pop(name) for name in ("threshold", "correction") if name in given}
    with pytest.raises((ValueError, TypeError), match=message):  # the checker of types may come first
        SmoothedMaps(Sides(), WIDE, SIGMA, **settings).certify(torch.rand(2, 1, 2, 3), **given)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model must return logits \[B, K, ...\]"):
        SmoothedMaps(nn.Flatten(), WIDE, SIGMA).certify(torch.rand(2, 1, 2, 3), selection=5, draws=50, alpha=0.01)
