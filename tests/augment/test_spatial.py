from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torch.testing import assert_close

from augment import SpatialChange
from augment.functional import rotate_translate_scale


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize(
    ("angle", "scale", "right", "down", "shear"),
    [
        (30.0, 1.0, 0, 0, 0.0),
        (0.0, 1.2, 3, -2, 0.0),
        (-45.0, 0.8, 2, 1, 0.0),
        (0.0, 1.0, 0, 0, 25.0),
        (20, 1.3, 1, 2, -40),
    ],
)
def test_agrees_with_torchvision(angle: float, scale: float, right: int, down: int, shear: float) -> None:
    images = torch.rand(1, 2, 20, 28, dtype=torch.float64)

    lean = one(shear) if shear else None
    ours = rotate_translate_scale(images, one(angle), one(scale), one(right / 28), one(down / 20), lean)

    theirs = F.affine(  # its rotation runs clockwise
        images,
        angle=-angle,
        translate=[right, down],
        scale=scale,
        shear=[shear, 0.0],
        interpolation=F.InterpolationMode.BILINEAR,
    )
    assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shear", [0.0, 20.0])
def test_identity_parameters_change_nothing(shear: float) -> None:
    change = SpatialChange(shear=shear)
    images = torch.rand(3, 1, 9, 14)

    assert_close(change.apply(images, torch.tensor([change.identity] * 3)), images, atol=2e-6, rtol=0)


def test_gradients_are_right() -> None:
    images = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    parameters = [value.requires_grad_() for value in (one(10.3), one(1.13), one(0.031), one(-0.047), one(8.1))]

    assert torch.autograd.gradcheck(rotate_translate_scale, (images, *parameters))


def test_draws_fill_the_ranges_and_nothing_else() -> None:
    change = SpatialChange(rotation=20.0, scale=(0.9, 1.4), shift=0.1, shear=15.0)
    drawn = change.draw(4000, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor(change.low), torch.tensor(change.high)

    assert ((drawn >= low) & (drawn <= high)).all()
    assert_close(drawn.mean(0), (low + high) / 2, atol=0.6, rtol=0)
    assert_close(drawn.amax(0), high, atol=0.05, rtol=0.01)


def test_one_image_alone_is_as_in_a_batch() -> None:
    change = SpatialChange()
    images, parameters = torch.rand(5, 1, 16, 16), change.draw(5)

    alone = torch.cat([change.apply(images[i : i + 1], parameters[i : i + 1]) for i in range(5)])

    assert_close(alone, change.apply(images, parameters), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rotation": -1.0}, "rotation must be"),
        ({"shift": float("nan")}, "shift must be"),
        ({"scale": (1.1, 1.3)}, "scale must be"),
        ({"shear": 90.0}, "shear must be"),
    ],
)
def test_impossible_ranges_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpatialChange(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_values_and_not_places(kind: torch.dtype) -> None:
    # torchvision 0.29.1 takes pixels from rounded places: findings/torchvision_half_precision_geometry.sh
    change = SpatialChange(rotation=30.0, scale=(0.9, 1.1), shift=0.1)
    images = torch.rand(2, 3, 64, 64)
    parameters = change.draw(2, generator=torch.Generator().manual_seed(0))
    difference = change.apply(images.to(kind), parameters).float() - change.apply(images, parameters)

    assert float(difference.abs().max()) <= 2 * torch.finfo(kind).eps
