from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from augment import Corruption, Digits, Perturb, SpatialChange


class Bound:
    def __init__(self, images: Tensor, network: nn.Module) -> None:
        self.images, self.network = images, network

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(len(self.images), 1, generator=generator)

    def decode(self, offsets: Tensor) -> Tensor:
        return self.images * offsets[:, :, None, None].to(self.images)


@dataclass
class Darker:
    """Multiplies each image by its offset."""

    network: nn.Module

    def at(self, images: Tensor) -> Bound:
        return Bound(images, self.network)


@pytest.fixture
def perturb() -> Perturb:
    return Perturb(Darker(nn.Dropout().eval()), moves_pixels=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_float_types_stay(perturb: Perturb, dtype: torch.dtype) -> None:
    image = torch.ones(3, 4, 5, dtype=dtype)

    changed = perturb(image)

    assert changed.dtype == dtype
    assert changed.shape == image.shape
    assert_close(changed[0, 0, 0].double(), perturb.parameters[0, 0].double(), atol=0.01, rtol=0)


def test_uint8_is_rounded(perturb: Perturb) -> None:
    changed = perturb(torch.full((2, 1, 3, 3), 200, dtype=torch.uint8))

    assert changed.dtype == torch.uint8
    assert_close(changed[:, 0, 0, 0].float(), (200 * perturb.parameters[:, 0]).round(), atol=1.0, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pil_images_stay_pil_images_of_their_mode(perturb: Perturb, mode: str) -> None:
    changed = perturb(Image.new(mode, (5, 4), "white"))

    assert isinstance(changed, Image.Image)
    assert (changed.mode, changed.size) == (mode, (5, 4))


def test_nested_samples_keep_structure_and_types(perturb: Perturb) -> None:
    sample = {"image": tv_tensors.Image(torch.ones(1, 4, 4)), "rest": (7, "text", [torch.arange(3)])}

    changed = perturb(sample)

    assert isinstance(changed["image"], tv_tensors.Image)
    assert changed["rest"][:2] == (7, "text")
    assert_close(changed["rest"][2][0], torch.arange(3))
    assert changed["image"].max() < 1


def test_one_draw_per_image_also_in_a_batch(perturb: Perturb) -> None:
    changed = perturb(torch.ones(6, 3, 2, 2))

    assert perturb.parameters.shape == (6, 1)
    assert len(changed[:, 0, 0, 0].unique()) == 6
    assert perturb(torch.ones(2, 3, 1, 4, 4))[:, :, 0, 0, 0].unique().numel() == 6


def test_draws_replay(perturb: Perturb) -> None:
    images = torch.rand(4, 1, 5, 5)
    changed = perturb(images)

    assert_close(perturb.replay(images, perturb.parameters), changed, rtol=0, atol=0)
    with pytest.raises(ValueError, match="one row per image, got 4 for 2"):
        perturb.replay(images[:2], perturb.parameters)


def test_masks_and_boxes_are_refused_unless_no_pixel_moves() -> None:
    sample = (torch.ones(1, 4, 4), tv_tensors.Mask(torch.zeros(4, 4)))
    network = nn.Identity()

    with pytest.raises(ValueError, match=r"Mask, which would have to move.*moves_pixels=False"):
        Perturb(Darker(network))(sample)
    assert_close(Perturb(Darker(network), moves_pixels=False)(sample)[1], sample[1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 2, 2), 1.5), r"must lie within \[0, 1\]"),
        (torch.full((1, 2, 2), float("nan")), r"must lie within \[0, 1\]"),
        (torch.ones(1, 2, 2, dtype=torch.int32), "must be uint8 or floating point"),
    ],
)
def test_values_that_are_no_images_are_refused(perturb: Perturb, images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perturb(images)


def test_network_is_not_woken_by_the_module_around() -> None:
    network = nn.Dropout().eval()
    around = nn.Sequential(Perturb(Darker(network)), nn.Linear(2, 2))

    around.train()

    assert not network.training
    assert len(list(around.parameters())) == 2


def test_inputs_are_not_written_to(perturb: Perturb) -> None:
    images = torch.rand(2, 1, 4, 4)
    before = images.clone()
    perturb(images)

    assert_close(images, before, rtol=0, atol=0)


def test_works_in_compose_and_after_collate(perturb: Perturb) -> None:
    both = v2.Compose([v2.ToDtype(torch.float32, scale=True), perturb])

    def collate(items: list[Any]) -> Any:
        return perturb(default_collate(items))

    images, labels = next(iter(DataLoader(Digits("test"), batch_size=8, collate_fn=collate)))

    assert images.shape == (8, 1, 28, 28)
    assert_close(labels, Digits("test").labels[:8])
    assert perturb.parameters.shape == (8, 1)
    assert both(torch.ones(3, 4, 4, dtype=torch.uint8)).dtype == torch.float32


@dataclass
class Drawn:
    """A data set whose items are the draws of a transform."""

    perturb: Perturb

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return self.perturb(torch.ones(1, 2, 2))[0, 0, 0]


@pytest.mark.parametrize("own", [False, True])
def test_draws_differ_between_images_workers_and_epochs_and_repeat_under_a_seed(own: bool) -> None:
    def epochs() -> Tensor:
        generator = torch.Generator().manual_seed(5) if own else None
        data = Drawn(Perturb(Darker(nn.Identity()), generator=generator))
        torch.manual_seed(1)
        loader = DataLoader(data, batch_size=1, num_workers=2, multiprocessing_context="fork")
        return torch.cat([torch.cat(list(loader)) for _ in range(2)])

    first = epochs()

    assert len(first.unique()) == 16
    assert_close(epochs(), first, rtol=0, atol=0)


def test_pickled_transform_draws_on() -> None:
    perturb = Perturb(Darker(nn.Identity()), generator=torch.Generator().manual_seed(3))
    again = pickle.loads(pickle.dumps(perturb))
    images = torch.ones(2, 1, 2, 2)

    assert_close(again(images), perturb(images))


def test_offsets_can_travel_with_the_sample() -> None:
    perturb = Perturb(Darker(nn.Identity()), return_parameters=True)
    (image, label), offsets = perturb((torch.ones(1, 2, 2), 3))

    assert label == 3
    assert_close(image[0, 0, 0], offsets[0, 0])


def test_what_cannot_be_bound_is_refused() -> None:
    with pytest.raises(TypeError, match="perturbations"):
        Perturb(object())  # type: ignore[arg-type]


def test_masks_of_another_size_are_refused_where_pixels_move() -> None:
    sample = (tv_tensors.Image(torch.rand(3, 32, 32)), tv_tensors.Mask(torch.zeros(16, 16)))

    for transform in (SpatialChange(), Corruption("elastic_transform", 3)):
        with pytest.raises(ValueError, match=r"masks must have the size of their image, \(32, 32\), got \(16, 16\)"):
            transform(sample)
