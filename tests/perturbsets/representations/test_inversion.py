"""From representations back to images."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Digits
from cvae import LoopSettings
from perturbsets import (
    Ascent,
    LayerOutputs,
    ProjectedAdam,
    ProjectedLBFGS,
    SmallConvNet,
    StandardTraining,
    train_classifier,
)
from perturbsets.models import randomized
from perturbsets.representations import Inversion, alpha_norm, total_variation

DOUBLE = torch.float64
PLAIN: dict[str, Any] = {"activation": "none", "alpha_weight": 0.0, "variation_weight": 0.0}


def linear(outputs: int = 12) -> nn.Module:
    """A linear layer that keeps all of twelve pixels."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, outputs, dtype=DOUBLE))
    return randomized(model, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = SmallConvNet(height=16, width=16, widths=(16, 32))
    train_classifier(model, Digits("train", size=16, digit=14), StandardTraining(), LoopSettings(steps=150, batch=64))
    return model


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return Digits("test", size=16, digit=14).batch(range(6))[0]


@pytest.mark.parametrize(
    "ascent", [ProjectedLBFGS(300), ProjectedLBFGS(300, stop_on_success=True), ProjectedAdam(700, schedule="cosine")]
)
def test_what_an_invertible_layer_says_is_read_back_exactly(ascent: Ascent) -> None:
    model, x = linear(30), torch.rand(5, 3, 2, 2, dtype=DOUBLE)
    x[0] = x[0].round()  # all values at the bounds
    made = Inversion("1", ascent=ascent, **PLAIN).reconstruct(model, x, generator=torch.Generator().manual_seed(0))

    assert_close(made.images, x, rtol=0, atol=1e-3)
    assert (made.distances < 1e-3).all()


def test_prices_pull_towards_the_image_of_the_closed_form() -> None:
    """Of a linear layer with the price of variation alone the best image solves a linear system."""
    model, x = linear(), 0.5 + 0.1 * torch.rand(4, 3, 2, 2, dtype=DOUBLE)
    weight, pixels = model[1].weight.detach(), torch.eye(12, dtype=DOUBLE).view(12, 3, 2, 2)
    across, down = (pixels.diff(dim=axis).flatten(1) for axis in (3, 2))
    bending = (across @ across.T + down @ down.T) / 12
    settings = PLAIN | {"variation_weight": 0.3}
    made = Inversion("1", ascent=ProjectedLBFGS(500), **settings).reconstruct(model, x)

    for image, found, representation in zip(x, made.images, model(x).detach(), strict=True):
        gram = weight.T @ weight / representation.square().sum()
        expected = torch.linalg.solve(gram + 0.3 * bending, gram @ image.flatten())
        assert (expected - image.flatten()).abs().max() > 1e-3
        assert_close(found.flatten(), expected, rtol=0, atol=1e-5)


def test_distances_are_those_of_the_representations() -> None:
    model, x = linear(), torch.rand(4, 3, 2, 2, dtype=DOUBLE)
    made = Inversion("1", ascent=ProjectedLBFGS(2), **PLAIN).reconstruct(model, x)
    wanted = model(x)

    assert_close(made.distances, (model(made.images) - wanted).norm(dim=1).div(wanted.norm(dim=1)).detach())
    assert (made.distances > 1e-2).all()
    assert (made.calls == 4).all()  # the start, two points, and the distance


def test_alpha_norm_and_total_variation_are_those_of_the_formulas() -> None:
    x = torch.rand(2, 3, 4, 5, dtype=DOUBLE)
    for image, norm, variation in zip(x, alpha_norm(x, 6.0), total_variation(x), strict=True):
        expected = sum(abs(2 * float(value) - 1) ** 6 for value in image.flatten()) / 60
        assert float(norm) == pytest.approx(expected)
        expected = 0.0
        for channel in image:
            expected += sum(float(channel[i, j + 1] - channel[i, j]) ** 2 for i in range(4) for j in range(4))
            expected += sum(float(channel[i + 1, j] - channel[i, j]) ** 2 for i in range(3) for j in range(5))
        assert float(variation) == pytest.approx(expected / 60)
    assert total_variation(torch.rand(3, 1, 1, 1)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("layers", ["layers.1", "layers.3", ["layers.1", "layers.6"]])
def test_inverted_images_have_nearly_the_representation_of_the_digits(
    trained: nn.Module, digits: Tensor, layers: str | list[str]
) -> None:
    inversion = Inversion(layers, variation_weight=0.3)
    made = inversion.reconstruct(trained, digits)
    outputs = LayerOutputs(trained, layers)
    apart = [(each - each.flip(0)).norm(dim=1) / each.norm(dim=1) for each in outputs(digits).values()]

    assert (made.distances < 0.2 * torch.stack(apart).min()).all()  # another digit's is at least five times as far
    assert torch.equal(trained(made.images).argmax(1), trained(digits).argmax(1))
    assert 0 <= made.images.min() <= made.images.max() <= 1


def test_deeper_layers_say_less_of_the_pixels(trained: nn.Module, digits: Tensor) -> None:
    errors = [
        float((Inversion(layer).reconstruct(trained, digits).images - digits).square().mean())
        for layer in ("layers.1", "layers.3", "layers.6")
    ]
    grey = float((digits - 0.5).square().mean())

    assert errors[0] < errors[1] < errors[2] < grey


def test_the_price_of_variation_makes_smoother_images(trained: nn.Module, digits: Tensor) -> None:
    smooth, rough = (
        total_variation(Inversion("layers.6", variation_weight=weight).reconstruct(trained, digits).images)
        for weight in (10.0, 0.0)
    )
    assert (smooth < rough / 2).all()


def test_one_image_alone_is_inverted_as_in_a_batch(trained: nn.Module, digits: Tensor) -> None:
    model, inversion = copy.deepcopy(trained).double(), Inversion("layers.6", ascent=ProjectedLBFGS(30))
    together = inversion.reconstruct(model, digits.double()).images
    alone = torch.cat([inversion.reconstruct(model, image[None].double()).images for image in digits])

    assert_close(alone, together, rtol=0, atol=1e-6)


def test_the_model_and_the_global_states_are_left_as_they_were(trained: nn.Module, digits: Tensor) -> None:
    model = copy.deepcopy(trained).train()
    model.layers[1].eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    Inversion("layers.3", ascent=ProjectedAdam(3)).reconstruct(model, digits)

    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


def test_draws_of_the_start_come_from_the_generator(trained: nn.Module, digits: Tensor) -> None:
    inversion = Inversion("layers.6", ascent=ProjectedAdam(3))
    first, again, other = (
        inversion.reconstruct(trained, digits, generator=torch.Generator().manual_seed(seed)).images
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_images_give_none(trained: nn.Module, digits: Tensor) -> None:
    made = Inversion("layers.6", ascent=ProjectedLBFGS(2)).reconstruct(trained, digits[:0])
    assert made.images.shape == (0, 1, 16, 16)
    assert made.distances.shape == (0,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": 0.5}, "alpha must be a finite number of 1 or more, got 0.5"),
        ({"alpha_weight": -1.0}, "alpha_weight must be a finite number of 0 or more, got -1.0"),
        ({"variation_weight": float("nan")}, "variation_weight must be a finite number of 0 or more, got nan"),
    ],
)
def test_settings_outside_their_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inversion("1", **given)


@pytest.mark.parametrize(
    ("representations", "message"),
    [
        ({"0": torch.rand(2, 12)}, r"representations must be those of the layers \['1'\], got \['0'\]"),
        ({}, r"representations must be those of the layers \['1'\], got \[\]"),
        ({"1": torch.eye(2, 12) * torch.tensor([[1.0], [0.0]])}, "2 finite rows, none of them zero, got 2, 1 of them"),
        ({"1": torch.full((1, 12), float("inf"))}, "got 1, 0 of them zero and 1 not finite: take another layer"),
        ({"1": torch.rand(2, 11)}, r"at '1' must have 12 columns, as the layer has for images \[3, 2, 2\], got 11"),
    ],
)
def test_representations_that_no_layer_gives_are_refused(representations: dict[str, Tensor], message: str) -> None:
    model = linear().float()
    with pytest.raises(ValueError, match=message):
        Inversion("1", **PLAIN)(model, representations, (3, 2, 2))
