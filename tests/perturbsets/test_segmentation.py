"""A class per pixel: training, attack and judgement of segmentation models."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import LoopSettings
from perturbsets import (
    AdversarialTraining,
    Adversary,
    AugmentedTraining,
    Method,
    PixelBall,
    ProjectedGradient,
    SegmentationCrossEntropy,
    SmallUNet,
    StandardTraining,
    evaluate,
    train_classifier,
)
from perturbsets.evaluation import correct_under


@pytest.fixture
def scenes(generator: torch.Generator) -> TensorDataset:
    """Noisy images whose pixels are of class 1 where they are bright; a frame of pixels does not count."""
    bright = F.interpolate(torch.rand(48, 1, 4, 6, generator=generator), (12, 18), mode="nearest") > 0.5
    noise = 0.1 * torch.rand(48, 1, 12, 18, generator=generator)
    maps = bright[:, 0].long()
    maps[:, 0], maps[:, -1] = 255, 255
    return TensorDataset(0.3 + 0.4 * bright.float() + noise, maps)


class Threshold(nn.Module):
    """Bright pixels are of class 1."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([0.5 - images, images - 0.5], 1) * 20


@pytest.mark.parametrize("size", [(8, 8), (12, 18), (9, 31)])
def test_logits_have_the_size_of_the_images(size: tuple[int, int]) -> None:
    assert SmallUNet(channels=1, height=8, width=8, classes=3)(torch.rand(2, 1, *size)).shape == (2, 3, *size)


def test_too_small_a_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes 2, got .*height=7.*classes=1"):
        SmallUNet(height=7, classes=1)


PIXELS = PixelBall("linf", 0.1)
ATTACK = Adversary(PIXELS, SegmentationCrossEntropy(), ProjectedGradient(3))


@pytest.mark.parametrize("method", [StandardTraining(), AugmentedTraining(PIXELS), AdversarialTraining(ATTACK)])
def test_every_pixel_is_learned(method: Method, scenes: TensorDataset) -> None:
    torch.manual_seed(0)
    model = SmallUNet(channels=1, height=12, width=18, classes=2, widths=(8, 8))
    images, maps = scenes.tensors
    before = correct_under(model, None, images, maps)

    records = train_classifier(model, scenes, method, LoopSettings(steps=60, batch=16, learning_rate=0.01))

    after = correct_under(model, None, images, maps)
    assert after.shape == (48,)
    assert after.mean() > max(0.95, float(before.mean()))
    assert records[-1]["accuracy"] > 0.8


def test_shares_of_pixels_are_counted_and_unlabelled_ones_are_not(scenes: TensorDataset) -> None:
    images, maps = scenes.tensors
    wrong = maps.clone()
    wrong[:, 1:3] = 1 - wrong[:, 1:3]  # two of the ten rows that count

    assert_close(correct_under(Threshold(), None, images, maps), torch.ones(48))
    assert_close(correct_under(Threshold(), None, images, wrong), torch.full((48,), 0.8))


def test_an_attack_turns_pixels_and_the_table_holds_shares(scenes: TensorDataset) -> None:
    images, maps = scenes.tensors
    strong = Adversary(PixelBall("linf", 0.35), SegmentationCrossEntropy(), ProjectedGradient(10))
    table = evaluate({"threshold": Threshold()}, {"clean": None, "pixels": strong}, images, maps)

    assert table.accuracy("threshold", "clean").mean == 1
    hit = table.accuracy("threshold", "pixels")
    # Every pixel lies within 0.3 of the threshold.
    assert hit.mean < 0.01
    assert hit.low <= hit.mean <= hit.high


def test_logits_that_do_not_fit_the_maps_are_refused(scenes: TensorDataset) -> None:
    images, maps = scenes.tensors
    with pytest.raises(ValueError, match=r"logits \[B, K, ...\] for label maps \[48, 12, 18\], got \[48, 216\]"):
        correct_under(nn.Flatten(), None, images, maps)
    with pytest.raises(ValueError, match="labels must be within 0 and 1 or ignore=255, got 0 to 7"):
        correct_under(Threshold(), None, images, torch.where(maps == 1, 7, maps))


def test_images_without_a_labelled_pixel_are_refused(scenes: TensorDataset) -> None:
    images, maps = scenes.tensors
    blank = maps.clone()
    blank[3] = 255

    with pytest.raises(ValueError, match="labels must count somewhere in every image, got none in 1"):
        correct_under(Threshold(), None, images, blank)
