"""Latent balls over the architectures whose features are several maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from cvae import CVAE
from perturbsets import APGD, Adversary, CrossEntropy, LatentBall
from tests.cvae.every_model import MODELS, awake

SHAPE, LATENT = (3, 12, 13), 20
RADII = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)


@pytest.fixture(params=MODELS)
def model(request: Any) -> CVAE:
    return awake(MODELS[request.param](*SHAPE, latent=LATENT, hidden=8)).double()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, *SHAPE, dtype=torch.float64)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 13, 4)).double()


def test_region_decodes_encodes_and_keeps_as_the_model_does(model: CVAE, images: Tensor) -> None:
    perturbations = LatentBall(model, RADII)
    region, rows = perturbations.at(images), torch.tensor([2, 0])
    u = region.sample(generator=torch.Generator().manual_seed(0))

    assert (u.norm(dim=1) <= RADII).all()
    assert_close(region.decode(u), model.decode(images, u))
    assert_close(region.encode(images.flip(3)), model.encode(images, images.flip(3)))
    kept = region.select(rows)
    assert_close(kept.decode(u[rows]), region.decode(u)[rows])
    assert_close(kept.select(torch.tensor([1])).decode(u[:1]), region.decode(u)[:1])


def test_saved_ball_is_the_same_ball(model: CVAE, images: Tensor, tmp_path: Path) -> None:
    model, u = model.float(), torch.randn(3, LATENT)
    saved = LatentBall(model, 1.5, bank=torch.randn(4, LATENT))
    loaded = LatentBall.load(saved.save(tmp_path / "set"))

    assert type(loaded.model) is type(model)
    assert torch.equal(loaded.at(images.float()).decode(u), saved.at(images.float()).decode(u))


@pytest.mark.parametrize("stop", [False, True])
def test_attack_raises_the_loss_within_the_ball(model: CVAE, images: Tensor, stop: bool) -> None:
    victim, perturbations = classifier(), LatentBall(model, RADII)
    region = perturbations.at(images)
    labels = victim(region.decode(region.centre())).argmax(1)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = Adversary(perturbations, CrossEntropy(), APGD(20, stop_on_success=stop))(victim, images, labels)
    start = nn.functional.cross_entropy(victim(region.decode(region.centre())), labels, reduction="none")

    assert (found.loss >= start - 1e-12).all()
    assert (found.loss > start)[:2].all()
    assert_close(found.images, region.decode(found.offsets))
    assert (found.offsets.norm(dim=1) <= RADII + 1e-9).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert_close(model.state_dict(), weights, rtol=0, atol=0)
