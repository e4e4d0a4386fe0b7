"""Small conditional VAEs in closed form: an honest one, and ones that cheat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cvae import CVAE, Networks

SIDE = 8


class _Fixed(nn.Module):
    """A function in the place of a network."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(1))  # tells dtype and device

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*given)


class ClosedForm(CVAE):
    """Prior N(0, I), a given generator (images, latents), and a given encoding (images, changed)."""

    def __init__(self, latent: int, generate: Any, encode: Any, side: int = SIDE) -> None:
        def recognise(both: Tensor) -> Tensor:
            means = encode(*both.chunk(2, 1))
            return torch.cat([means, torch.full_like(means, -3.0)], 1)

        super().__init__(
            Networks(
                _Fixed(lambda images: images.flatten(1)),
                _Fixed(lambda features: features.new_zeros(len(features), 2 * latent)),
                _Fixed(recognise),
                _Fixed(lambda images, features, latents: generate(images, latents)),
            ),
            latent=latent,
            shape=(1, side, side),
        )
        self.eval().requires_grad_(False)


def light(images: Tensor, latents: Tensor) -> Tensor:
    """Contrast and brightness, a tenth per latent unit."""
    contrast, brightness = 1 + 0.1 * latents[:, :1, None, None], 0.1 * latents[:, 1:2, None, None]
    return 0.5 + contrast * (images - 0.5) + brightness


def light_of(images: Tensor, changed: Tensor) -> Tensor:
    """Contrast and brightness by least squares."""
    x, y = (part.flatten(1) - 0.5 for part in (images, changed))
    centred = x - x.mean(1, keepdim=True)
    contrast = (centred * y).sum(1) / centred.square().sum(1)
    brightness = y.mean(1) - contrast * x.mean(1)
    return torch.stack([10 * (contrast - 1), 10 * brightness], 1)


def honest() -> CVAE:
    return ClosedForm(2, light, light_of)


def returns_everything(share: float = 1.0) -> CVAE:
    """Latents are pixels; moves the given share of the way to any image there is."""
    size = SIDE * SIDE

    def generate(images: Tensor, latents: Tensor) -> Tensor:
        target = (0.5 + latents).clamp(0, 1).view_as(images)
        return images + share * (target - images)

    return ClosedForm(size, generate, lambda images, changed: changed.flatten(1) - 0.5)


def returns_only_x() -> CVAE:
    return ClosedForm(2, lambda images, latents: images.clone(), light_of)


def ignores_offsets() -> CVAE:
    """Always the same other image: the mean change of nothing in particular."""
    return ClosedForm(
        2, lambda images, latents: 0.2 + 0.6 * images, lambda images, changed: 1e-3 * light_of(images, changed)
    )


def mixed(first: CVAE, second: CVAE) -> CVAE:
    """The first on images whose first pixel is dark, the second on the others; latents of both, of one size."""

    def dark(images: Tensor) -> Tensor:
        return images[:, :1, :1, :1] < 0.5

    def generate(images: Tensor, latents: Tensor) -> Tensor:
        return torch.where(
            dark(images),
            first._generator(images, images.flatten(1), latents[:, : first.latent]),
            second._generator(images, images.flatten(1), latents[:, first.latent :]),
        )

    def encode(images: Tensor, changed: Tensor) -> Tensor:
        means = [model.recognition(images, changed).mean for model in (first, second)]
        which = dark(images)[:, :, 0, 0]
        return torch.cat([means[0] * which, means[1] * ~which], 1)

    return ClosedForm(first.latent + second.latent, generate, encode)


class LightPairs:
    """Smooth images in other light: several changes of each source, with labels and conditions."""

    def __init__(self, sources: int = 40, each: int = 3) -> None:
        draw = torch.Generator().manual_seed(5)
        small = torch.rand(sources, 1, 4, 4, generator=draw)
        images = 0.3 + 0.4 * nn.functional.interpolate(small, SIDE, mode="bilinear")
        images[::2, :, 0, 0] = 0.3
        images[1::2, :, 0, 0] = 0.7
        self.clean = images.repeat_interleave(each, 0)
        self.sources = torch.arange(sources).repeat_interleave(each)
        self.labels = self.sources % 4
        latents = torch.randn(len(self.clean), 2, generator=draw).clamp(-2, 2)
        self.changed = light(self.clean, latents).clamp(0, 1)
        self.condition = (latents[:, 1] > 0).long()
        self.conditions = ("darker", "lighter")
        self.parameters = latents.abs().ceil().clamp(1, 2)
        self.parameter_names = ["severity", "other"]

    def __len__(self) -> int:
        return len(self.clean)

    def batch(self, rows: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.clean[rows], self.changed[rows], self.sources[rows], self.labels[rows]
