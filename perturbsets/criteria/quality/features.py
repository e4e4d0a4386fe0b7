"""Features of images that need no download: what the criteria in feature space measure with by default."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from perturbsets._types import Images

Features = Float[Tensor, "B F"]


@runtime_checkable
class FeatureExtractor(Protocol):
    """Any function from images to features; a classifier's inner layer, a network of one's own."""

    def __call__(self, images: Images, /) -> Features:
        """Features of images in [0, 1], on their device."""
        ...


class RandomFeatures:
    r"""Means and deviations of the responses of three random convolutions, each at half the former's resolution.

    .. math:: h_{l+1} = \operatorname{ReLU}(W_l * h_l), \quad \phi = \big(\operatorname{mean} h_l,
        \operatorname{std} h_l\big)_l

    The weights are drawn from a seed and never trained, so that figures can be compared between runs, on data of any
    kind and channels. Distances in this space tell colour, contrast, sharpness and texture apart; they know nothing of
    what is in a picture, and are not the published Fréchet inception distance.

    Args:
        width: Channels of the first convolution; the others have twice as many. At least 1.
        seed: Seed of the weights.

    Raises:
        ValueError: If the width is below 1.

    References:
        Naeem et al., *Reliable fidelity and diversity metrics for generative models*, 2020, sec. 5 (random embeddings).

    Example:
        >>> RandomFeatures()(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 160])
    """

    def __init__(self, width: int = 16, seed: int = 0) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width, self.seed = width, seed
        self._layers: dict[int, list[Tensor]] = {}

    @torch.no_grad()
    def __call__(self, images: Images) -> Features:
        statistics = []
        maps = images - 0.5
        for weight in self._weights(images.shape[1]):
            padded = nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
            maps = nn.functional.conv2d(padded, weight.to(images)).relu()
            statistics += [maps.mean((2, 3)), maps.std((2, 3))]
            maps = nn.functional.avg_pool2d(maps, 2)
        return torch.cat(statistics, 1)

    def _weights(self, channels: int) -> list[Tensor]:
        if channels not in self._layers:
            generator = torch.Generator().manual_seed(self.seed)
            sizes = [(channels, self.width), (self.width, 2 * self.width), (2 * self.width, 2 * self.width)]
            self._layers[channels] = [
                torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
                for inputs, outputs in sizes
            ]
        return self._layers[channels]
