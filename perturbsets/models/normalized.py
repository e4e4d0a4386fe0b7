"""Normalisation as a part of the model, where it belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Samples


class Normalized(nn.Module):
    r"""A model behind the normalisation of its input, so that images and radii stay in pixel units.

    .. math:: f\big((x - m) / s\big), \text{ channel by channel}

    Args:
        model: The model that wants normalised input.
        mean: Mean m of each channel.
        std: Standard deviation s of each channel, above 0.

    Raises:
        ValueError: If there are not as many of one as of the other, or a deviation is not above 0.

    Example:
        >>> model = Normalized(nn.Flatten(), mean=[0.5], std=[0.25])
        >>> model(torch.full((1, 1, 1, 2), 0.75))
        tensor([[1., 1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean) or not all(0 < value < float("inf") for value in std):
            raise ValueError(
                f"mean and std must give one number per channel, std above 0, got mean={list(mean)}, std={list(std)}"
            )
        self.model = model
        self.register_buffer("mean", torch.tensor([float(value) for value in mean]), persistent=False)
        self.register_buffer("std", torch.tensor([float(value) for value in std]), persistent=False)

    def forward(self, images: Samples) -> Any:
        """Samples ``[B, C, ...]`` in pixel units to what the model makes of them.

        Raises:
            ValueError: If the number of channels is another one.
        """
        if images.ndim < 2 or images.shape[1] != len(self.mean):
            raise ValueError(f"images must have shape [B, {len(self.mean)}, ...], got {list(images.shape)}")
        shape = (-1, *[1] * (images.ndim - 2))
        return self.model((images - self.mean.to(images).view(shape)) / self.std.to(images).view(shape))
