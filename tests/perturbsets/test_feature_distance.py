"""Distances of representations, against their formula written out and against SciPy's optimiser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    Adversary,
    FeatureDistance,
    LayerOutputs,
    LinearFeatureDistance,
    Objective,
    PixelBall,
    ProjectedGradient,
)
from perturbsets.representations import feature_opt

DOUBLE = torch.float64
LAYERS = ["3", "5", "8"]
OBJECTIVES = [FeatureDistance, LinearFeatureDistance]


def network(dtype: torch.dtype = DOUBLE, inplace: bool = False) -> nn.Sequential:
    """Three convolutions and two linear layers for images 3 x 8 x 8, random and frozen."""
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace),
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(inplace),
            nn.Linear(32, 10),
        )
        .to(dtype)
        .requires_grad_(False)
    )


def pairs(count: int, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    sources, guides = torch.rand(2, count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    return sources, guides


def value(objective: Objective, model: nn.Module, images: Tensor, sources: Tensor, guides: Tensor) -> Tensor:
    return objective.at(model, sources, guides)(images, images.flatten(1))[0].detach()


@pytest.mark.parametrize("layers", ["5", ["1", "8"], "*[0-9]"])
@pytest.mark.parametrize("activation", ["relu", "none"])
def test_values_are_those_of_the_formula(layers: Any, activation: Any) -> None:
    model, (sources, guides) = network(), pairs(4)
    images = (sources + 0.1 * torch.randn_like(sources)).clamp(0, 1)
    outputs = LayerOutputs(model, layers, activation=activation)
    at, near, far = outputs(images), outputs(guides), outputs(sources)
    expected = torch.zeros(4, dtype=DOUBLE)
    for name in outputs.names:
        expected -= (at[name] - near[name]).norm(dim=1) ** 2 / (far[name] - near[name]).norm(dim=1) ** 2
    found = value(FeatureDistance(layers, activation=activation), model, images, sources, guides)

    assert_close(found, expected / len(outputs.names))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_value_is_minus_one_at_the_source(objective: Any) -> None:
    model, (sources, guides) = network(), pairs(4)

    assert_close(value(objective(LAYERS), model, sources, sources, guides), -torch.ones(4, dtype=DOUBLE))


def test_the_value_is_zero_and_the_goal_reached_at_the_guide() -> None:
    model, (sources, guides) = network(), pairs(4)
    loss = FeatureDistance(LAYERS, ratio=0.0).at(model, sources, guides)
    values, success = loss(guides, guides.flatten(1))

    assert (values == 0).all()
    assert success.all()


def test_the_goal_is_a_ratio_of_distances() -> None:
    model, (sources, guides) = network(), pairs(32)
    adversary = Adversary(
        PixelBall("linf", 0.2), FeatureDistance("5", ratio=0.31), ProjectedGradient(20, starts="zero")
    )
    found = adversary(model, sources, guides)
    near, at, far = (LayerOutputs(model, "5")(images)["5"] for images in (guides, found.images, sources))
    ratio = (at - near).norm(dim=1) / (far - near).norm(dim=1)

    assert 8 < found.success.sum() < 24
    assert torch.equal(found.success, ratio <= 0.31)
    assert not Adversary(PixelBall("linf", 0.2), FeatureDistance("5"))(model, sources, guides).success.any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_some_of_the_images_have_the_values_they_have_among_all(objective: Any) -> None:
    model, (sources, guides) = network(), pairs(6)
    images, rows = sources + 0.01, torch.tensor([4, 1])
    loss = objective(LAYERS).at(model, sources, guides)

    assert_close(loss.select(rows)(images[rows], images[rows].flatten(1))[0], loss(images, images.flatten(1))[0][rows])


@pytest.mark.parametrize("inplace", [False, True])
def test_the_linear_form_has_the_value_of_finite_differences_and_the_true_gradient_at_the_source(inplace: bool) -> None:
    model, (sources, guides) = network(inplace=inplace), pairs(4)
    change = 0.1 * torch.randn_like(sources)
    outputs = LayerOutputs(model, LAYERS)
    step = 1e-6
    ahead, behind, near = outputs(sources + step * change), outputs(sources - step * change), outputs(guides)
    far = outputs(sources)
    expected = torch.zeros(4, dtype=DOUBLE)
    for name in LAYERS:
        at = far[name] + (ahead[name] - behind[name]) / (2 * step)
        expected -= (at - near[name]).square().sum(1) / (far[name] - near[name]).square().sum(1) / 3

    assert_close(
        value(LinearFeatureDistance(LAYERS), model, sources + change, sources, guides), expected, rtol=1e-6, atol=0
    )
    slopes = []
    for objective in (FeatureDistance(LAYERS), LinearFeatureDistance(LAYERS)):
        x = sources.clone().requires_grad_()
        slopes.append(torch.autograd.grad(objective.at(model, sources, guides)(x, x.flatten(1))[0].sum(), x)[0])
    assert_close(*slopes)


def test_the_linear_form_is_the_true_one_in_a_linear_network() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5)).to(DOUBLE)
    sources, guides = pairs(4)
    images = sources + 0.1 * torch.randn_like(sources)
    found = []
    for objective in (
        FeatureDistance(["0", "3"], activation="none"),
        LinearFeatureDistance(["0", "3"], activation="none"),
    ):
        x = images.clone().requires_grad_()
        values = objective.at(model, sources, guides)(x, x.flatten(1))[0]
        found.append((values.detach(), torch.autograd.grad(values.sum(), x)[0]))

    assert_close(*found)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_give_nearly_the_same_values(objective: Any, dtype: torch.dtype) -> None:
    sources, guides = pairs(4)
    images = sources.lerp(guides, 0.3)
    exact = value(objective(LAYERS), network(), images, sources, guides)
    rounded = value(objective(LAYERS), network(dtype), images.to(dtype), sources.to(dtype), guides.to(dtype))

    assert rounded.dtype == torch.float32
    assert_close(rounded.double(), exact, rtol=1e-4 if dtype == torch.float32 else 0.1, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_empty_batches_have_no_values(objective: Any) -> None:
    model, (sources, guides) = network(), pairs(0)
    found = Adversary(PixelBall("linf", 0.1), objective("5"), ProjectedGradient(2))(model, sources, guides)

    assert found.loss.shape == (0,)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_guides_that_do_not_fit_are_refused(objective: Any) -> None:
    model, (sources, guides) = network(), pairs(4)
    with pytest.raises(
        ValueError, match=r"labels must be guide images of the sources' shape \[4, 3, 8, 8\] .* got \[4, 3"
    ):
        objective("5").at(model, sources, guides[..., :7])
    some = guides.clone()
    some[[1, 3]] = sources[[1, 3]]
    with pytest.raises(
        ValueError, match=r"guides must be other images than their sources, got the same in rows 1, 3: "
    ):
        objective("5").at(model, sources, some)
    with pytest.raises(ValueError, match="model must be a network with layers for this objective, got None"):
        objective("5").at(None, sources, guides)
    with pytest.raises(ValueError, match="layers must be names or globs"):
        objective("11").at(model, sources, guides)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_representations_without_a_distance_are_refused(objective: Any) -> None:
    model, (sources, guides) = network(), pairs(4)
    with torch.no_grad():
        model[4].bias.fill_(-100)
    with pytest.raises(ValueError, match=r"layers must be alive, got zero .* at \['5'\]: .* activation=\"none\""):
        objective(["3", "5"]).at(model, sources, guides)
    mean = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    sources, guides = sources.round(), guides.round()  # sums of whole numbers do not hang on their order
    guides[2] = sources[2].flip(2)
    with pytest.raises(ValueError, match=r"got the same representation at '0' in row 2: "):
        objective("0").at(mean, sources, guides)


@pytest.mark.parametrize("ratio", [-0.1, float("nan")])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio must be 0 or more"):
        FeatureDistance("5", ratio=ratio)


def of_scipy(layers: nn.Module, source: Tensor, guide: Tensor, radius: float) -> float:
    """The ratio of distances behind some layers that SciPy's L-BFGS-B comes to, with its own settings."""
    near, far = layers(guide[None]), layers(source[None])

    def look(pixels: Any) -> tuple[float, Any]:
        x = torch.tensor(pixels).view(1, *source.shape).requires_grad_()
        squared = ((layers(x) - near) ** 2).sum() / ((far - near) ** 2).sum()
        return squared.item(), torch.autograd.grad(squared, x)[0].numpy().ravel()

    start = source.numpy().ravel()
    bounds = list(zip(np.maximum(start - radius, 0), np.minimum(start + radius, 1), strict=True))
    found = minimize(look, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "maxfun": 5000})
    return float(found.fun) ** 0.5


@pytest.mark.parametrize("layer", LAYERS)
def test_ratios_are_those_of_scipy(layer: str) -> None:
    model, (sources, guides), radius = network(), pairs(32), 10 / 255
    found = feature_opt(layer, radius=radius)(model, sources, guides)
    ratios = (-found.loss).sqrt()
    reference = torch.tensor(
        [of_scipy(model[: int(layer) + 1], s, g, radius) for s, g in zip(sources, guides, strict=True)], dtype=DOUBLE
    )

    assert 0.3 < reference.mean() < 0.95  # neither out of reach nor reached
    assert abs(ratios.mean() / reference.mean() - 1) < 0.01
    each = (ratios / reference).quantile(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=DOUBLE))
    assert each[2] < 1.002
    assert each[3] < 1.01
    assert each[4] < 1.04  # on a landscape of many hills each may end on one of its own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda guides: 255 * guides, r"guides must be finite images in the unit of the sources, got .* to 2\d\d"),
        (lambda guides: (255 * guides).to(torch.uint8), "got torch.uint8 from .*: divide bytes by 255"),
        (lambda guides: guides.where(guides > 0.01, math.nan), "got torch.float64 from nan"),
        (lambda guides: 2 * guides - 1, "leave normalisation to the model"),
    ],
)
def test_guides_of_another_unit_are_refused(change: Any, message: str) -> None:
    model, (sources, guides) = network(), pairs(4)
    with pytest.raises(ValueError, match=message):
        FeatureDistance("5").at(model, sources, change(guides))
