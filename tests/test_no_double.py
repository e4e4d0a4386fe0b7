"""Everything runs on a device without float64, and gives there what it gives on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Corruption, Mixture, RandomCorruption, SpatialChange
from augment.corruptions import CLASSES, at_severity
from cvae import ConvCVAE
from perturbsets import (
    APGD,
    Adversary,
    Ascent,
    ComposedSet,
    GridSearch,
    LatentBall,
    NecessarySubset,
    PixelBall,
    ProjectedLBFGS,
    Smoothed,
    SpatialBox,
    Square,
    SufficientLikelihood,
    Theorems,
    find_contradictions,
)
from perturbsets.certificates import SmoothedLabels, SmoothedMaps
from perturbsets.criteria.features import frechet_distance
from perturbsets.criteria.quality import precision_recall
from perturbsets.multi_label import label_linear_programme, multi_label_deepfool
from perturbsets.representations import (
    ProbabilisticPCA,
    active_overlap,
    angular_consistency,
    choose_dimension,
    likelihood_drop,
    sparsity_change,
)
from perturbsets.sets.balls import L1Ball
from tests.no_double import OnDevice, device_without_double, home
from tests.perturbsets.every_ascent import ASCENTS, pixels_or_else_places


def test_the_stand_in_refuses_what_a_device_without_double_refuses() -> None:
    with device_without_double() as there:
        x = there(torch.ones(3))
        assert (x + 1).device.type == "mps"
        assert torch.zeros(2, device=x.device).device.type == "mps"
        assert x.cpu().double().dtype == torch.float64
        assert torch.ones(3, dtype=torch.float64).to(x).device.type == "mps"
        for wrong in (
            lambda: x.double(),
            lambda: x.sum(dtype=torch.float64),
            lambda: torch.zeros(2, dtype=torch.float64, device=x.device),
            lambda: torch.ones(3, dtype=torch.float64).to(x.device),
            lambda: x.new_zeros(2, dtype=torch.float64),
        ):
            with pytest.raises(TypeError, match="float64"):
                wrong()
        with pytest.raises(RuntimeError, match="one device"):
            x + torch.ones(3)


pytestmark = pytest.mark.filterwarnings("ignore:.*frobenius_norm")  # which torch takes for norms on other devices


@pytest.mark.parametrize("name", list(CLASSES))
def test_corruptions(name: str) -> None:
    corruption = at_severity(name, 3)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = corruption.draw(3, generator=torch.Generator().manual_seed(1))

    with device_without_double() as there:
        found = corruption.apply(there(images), there(rows))

    assert isinstance(found, OnDevice)
    assert_close(home(found), corruption.apply(images, rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    "transform",
    [
        SpatialChange(shear=10.0),
        RandomCorruption(["snow", "shot_noise", "elastic_transform"]),
        Mixture([Corruption("motion_blur", 3), Corruption("frost", 2)]),
    ],
)
def test_transforms(transform: nn.Module) -> None:
    images = torch.rand(3, 3, 32, 32)

    with device_without_double() as there:
        found = transform(there(images))

    assert isinstance(found, OnDevice)
    assert_close(home(found), transform.replay(images, home(transform.parameters)), atol=1e-6, rtol=0)


class Linear(nn.Module):
    """Logits of four labels, linear in the image; a module without parameters runs on every device."""

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return torch.stack([flat[:, some::4].sum(1) - flat.sum(1) / 4 for some in range(4)], 1)


@pytest.mark.parametrize(
    ("ascent", "norm"),
    [
        *((ascent, "l2") for ascent in ASCENTS[::2] if not isinstance(ascent, GridSearch)),
        (GridSearch(1), "l2"),  # more points take long, as the stand-in is slow
        *((ascent, norm) for ascent in (APGD(9), ProjectedLBFGS(8), Square(12)) for norm in ("l1", "linf")),
    ],
)
def test_ascents(ascent: Ascent, norm: str) -> None:
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = Linear()(images).argmax(1)
    perturbations = pixels_or_else_places(ascent, images, norm)  # type: ignore[arg-type]
    attack = Adversary(perturbations, ascent=ascent)

    with device_without_double() as there:
        found = attack(Linear(), there(images), there(labels), generator=torch.Generator().manual_seed(1))

    expected = attack(Linear(), images, labels, generator=torch.Generator().manual_seed(1))
    assert isinstance(found.images, OnDevice)
    assert_close(home(found.images), expected.images)
    assert_close(home(found.success), expected.success)


@pytest.mark.parametrize(
    "perturbations",
    [PixelBall("l1", 0.5), PixelBall("l2", 0.5), PixelBall("linf", 0.1), SpatialBox(radius=0.5)],
)
def test_draws_of_sets(perturbations: PixelBall | SpatialBox) -> None:
    images = torch.rand(3, 1, 4, 4)

    with device_without_double() as there:
        region = perturbations.at(there(images))
        draws = [region.sample(), region.random_start()]
        if not isinstance(region.ball, L1Ball):
            draws.append(region.ball.normal(region.centre()))
        assert all(isinstance(region.decode(offsets), OnDevice) for offsets in draws)


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        (Smoothed, lambda outputs: outputs),
        (SmoothedLabels, lambda outputs: outputs),
        (SmoothedMaps, lambda outputs: outputs[:, :, None].repeat(1, 1, 5)),
    ],
)
def test_certificates(kind: type[Smoothed], read: Callable[[Tensor], Tensor]) -> None:
    class Model(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return read(super().forward(images))

    smoothed = kind(Model(), PixelBall("l2", 1.0), 0.25)
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    outputs = Model()(images)
    labels = (outputs > 0).long() if kind is SmoothedLabels else outputs.argmax(1)
    seeds = torch.arange(3)

    with device_without_double() as there:
        found = smoothed.certify(there(images), draws=200, labels=there(labels), seeds=there(seeds)).summary()
        vote = smoothed.predict(there(images), draws=200, seeds=there(seeds)) if kind is Smoothed else None

    assert found == smoothed.certify(images, draws=200, labels=labels, seeds=seeds).summary()
    if vote is not None:
        assert isinstance(vote, OnDevice)
        assert_close(home(vote), smoothed.predict(images, draws=200, seeds=seeds))


def test_contradictions_of_certificates() -> None:
    smoothed = Smoothed(Linear(), ComposedSet([PixelBall("l2", 1.0), PixelBall("l2", 1.0)]), [0.25, 0.25])
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    with device_without_double() as there:
        certified = smoothed.certify(there(images), draws=200, seeds=there(torch.arange(3)))
        found = find_contradictions(smoothed, there(images), certified, draws=100)

    assert found.summary()["contradictions"] == 0


@pytest.mark.parametrize("attack", [multi_label_deepfool, label_linear_programme])
def test_least_changes(attack: Callable[..., Any]) -> None:
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = (Linear()(images) <= 0).float()

    with device_without_double() as there:
        found = attack(Linear(), there(images), there(targets))

    assert_close(home(found.images), attack(Linear(), images, targets).images)


NEIGHBOURS = torch.randn(2, 9, 20, generator=torch.Generator().manual_seed(0))
GUIDES, POINTS = NEIGHBOURS.mean(1), NEIGHBOURS[:, :3] * 1.5


def drop_of_a_fit(neighbours: Tensor, guides: Tensor, points: Tensor) -> Tensor:
    return likelihood_drop(ProbabilisticPCA.fit(neighbours, dimension=3, centre=guides), points, guides)


@pytest.mark.parametrize(
    "measure",
    [
        drop_of_a_fit,
        lambda neighbours, guides, points: choose_dimension(neighbours, guides).held_out,
        lambda neighbours, guides, points: angular_consistency(points, guides, neighbours),
        lambda neighbours, guides, points: sparsity_change(points[:, 0], guides),
        lambda neighbours, guides, points: active_overlap(points[:, 0], guides),
        lambda neighbours, guides, points: torch.tensor(frechet_distance(neighbours[0], neighbours[1])),
        lambda neighbours, guides, points: precision_recall(neighbours[0], neighbours[1], neighbours=2).precise,
    ],
)
def test_features(measure: Callable[..., Tensor]) -> None:
    with device_without_double() as there:
        found = home(measure(there(NEIGHBOURS), there(GUIDES), there(POINTS)))

    assert_close(found, measure(NEIGHBOURS, GUIDES, POINTS))


class RandomPairs:
    """Six pairs of small images."""

    clean, changed = torch.rand(2, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.clean[rows], self.changed[rows], rows, torch.zeros_like(rows)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize(
    "criterion",
    [
        SufficientLikelihood(draws=40),
        SufficientLikelihood(draws=40, ridge=0),
        Theorems(draws=4, tail_draws=64),
        NecessarySubset(steps=2, restarts=2, curve_steps=1),
    ],
)
def test_criteria_of_latent_sets(criterion: Any, likelihood: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    learned = LatentBall(ConvCVAE(channels=1, height=8, width=8, latent=2, likelihood=likelihood).eval(), 2.0)
    expected = criterion(learned, RandomPairs(), generator=torch.Generator().manual_seed(1)).summary()
    monkeypatch.setattr(LatentBall, "device", torch.device("mps"))

    with device_without_double():
        found = criterion(learned, RandomPairs(), generator=torch.Generator().manual_seed(1)).summary()

    assert found == expected
