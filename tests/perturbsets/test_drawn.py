"""Sets that can only be drawn from."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from augment import Perturb, RandomCorruption, SpatialChange
from perturbsets import APGD, Adversary, ComposedSet, DrawnChanges, GridSearch, PixelBall, RandomSearch, SmallConvNet

NOISE = DrawnChanges(RandomCorruption(["gaussian_noise", "fog"]))


def test_draws_are_those_of_the_change(generator: torch.Generator) -> None:
    x = torch.rand(5, 3, 16, 16)
    region = NOISE.at(x)

    offsets = region.sample(generator=generator)

    assert offsets.shape == (5, 4)
    assert_close(region.decode(offsets), NOISE.change.apply(x, offsets))
    rows = torch.tensor([1, 3])
    assert_close(region.select(rows).decode(offsets[rows]), region.decode(offsets)[rows])
    assert_close(region.project(offsets), offsets, rtol=0, atol=0)


def test_the_worst_draw_is_kept(generator: torch.Generator) -> None:
    x, y = torch.rand(6, 3, 16, 16), torch.zeros(6, dtype=torch.int64)
    model = SmallConvNet(3, 16, 16, classes=3, widths=(4, 8))

    found = Adversary(NOISE, ascent=RandomSearch(8))(model, x, y, generator=generator)

    single = Adversary(NOISE, ascent=RandomSearch(1))(model, x, y, generator=generator)
    assert_close(found.images, NOISE.at(x).decode(found.offsets))
    assert found.loss.mean() > single.loss.mean()
    assert (found.calls == 8).all()


@pytest.mark.parametrize("ascent", [APGD(3), GridSearch(3)])
def test_what_climbs_is_refused(ascent: APGD | GridSearch) -> None:
    x, y = torch.rand(2, 3, 16, 16), torch.zeros(2, dtype=torch.int64)

    with pytest.raises(ValueError, match="RandomSearch"):
        Adversary(NOISE, ascent=ascent)(SmallConvNet(3, 16, 16), x, y)


def test_composing_is_refused_and_perturbing_works() -> None:
    x = torch.rand(2, 3, 16, 16)

    with pytest.raises(ValueError, match="got a DrawnRegion"):
        ComposedSet([NOISE, PixelBall("linf", 0.1)]).at(x)
    turned = Perturb(DrawnChanges(SpatialChange()))(x)
    assert turned.shape == x.shape
    with pytest.raises(ValueError, match=r"must lie within \[0, 1\]"):
        NOISE.at(2 + x)
