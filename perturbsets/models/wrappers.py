"""Wrappers that make a part of the model what attacks must see: normalisation, averaging, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import LabelLogits, PerLabel, Samples


class Averaged(nn.Module):
    r"""The mean output of a randomised model over several draws, which an attack on it must raise.

    .. math:: \bar f(x) = \tfrac1n \sum_{i=1}^n f(x, \xi_i)

    Args:
        model: The model, which draws anew for each image of a batch.
        draws: Number of draws n for each output, at least 1.

    Raises:
        ValueError: If there are fewer than 1 draws.

    References:
        Athalye et al., *Synthesizing robust adversarial examples*, 2018, sec. 2.1 (expectation over transformation).

    Example:
        >>> Averaged(nn.Flatten(), draws=3)(torch.ones(2, 1, 2)).shape
        torch.Size([2, 2])
    """

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.model, self.draws = model, draws

    def forward(self, images: Samples) -> Tensor:
        """The mean over draws, all of them in one batch."""
        outputs = model_call.logits(self.model, images.repeat(self.draws, *[1] * (images.ndim - 1)))
        return outputs.unflatten(0, (self.draws, len(images))).mean(0)


class Normalized(nn.Module):
    r"""A model behind the normalisation of its input, so that images and radii stay in pixel units.

    .. math:: f\big((x - m) / s\big), \text{ channel by channel}

    Args:
        model: The model that wants normalised input.
        mean: Mean m of each channel.
        std: Standard deviation s of each channel, above 0.

    Raises:
        ValueError: If there are not as many means as deviations, or as channels, or a deviation is not above 0.

    Example:
        >>> model = Normalized(nn.Flatten(), mean=[0.5], std=[0.25])
        >>> model(torch.full((1, 1, 1, 2), 0.75))
        tensor([[1., 1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float] | float, std: Sequence[float] | float) -> None:
        super().__init__()
        if isinstance(mean, float | int) or isinstance(std, float | int):
            raise TypeError(f"mean and std must give one number per channel, got {mean} and {std}: write lists, [0.5]")
        if len(mean) != len(std) or not len(mean) or not all(0 < value < float("inf") for value in std):
            raise ValueError(
                f"mean and std must give one number per channel, std above 0, got mean={list(mean)}, std={list(std)}"
            )
        self.model = model
        self.register_buffer("mean", torch.tensor([float(value) for value in mean]), persistent=False)
        self.register_buffer("std", torch.tensor([float(value) for value in std]), persistent=False)

    def forward(self, images: Samples) -> Any:
        """Samples ``[B, C, ...]`` in pixel units to the model's output."""
        if images.ndim < 2 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"images must have shape [B, {len(self.mean)}, ...], a channel for each number of mean and std, got "
                f"{list(images.shape)}"
            )
        shape = (-1, *[1] * (images.ndim - 2))
        return self.model((images - self.mean.to(images).view(shape)) / self.std.to(images).view(shape))


class Thresholded(nn.Module):
    r"""A multi-label classifier less a threshold for each label, so that a label is on where its logit is above 0.

    .. math:: g(x) - t

    The sigmoid of a logit, its probability for attacks and scores, is then 1/2 at the threshold.

    Args:
        model: From samples to one logit for each label.
        thresholds: In logits, such as :func:`perturbsets.multi_label.choose_thresholds` gives; saved with the model's
            weights.

    Raises:
        ValueError: If a threshold is not finite, or at a call, if there is not one for each label.

    Example:
        >>> model = Thresholded(nn.Flatten(), torch.tensor([0.5, 2.0]))
        >>> model(torch.ones(1, 1, 1, 2))
        tensor([[ 0.5000, -1.0000]])
    """

    thresholds: Tensor

    def __init__(self, model: nn.Module, thresholds: PerLabel) -> None:
        super().__init__()
        if not bool(thresholds.isfinite().all()):
            raise ValueError(f"thresholds must be finite, one for each label, got {thresholds.tolist()}")
        self.model = model
        self.register_buffer("thresholds", thresholds.detach().clone())

    def forward(self, images: Samples) -> LabelLogits:
        logits = model_call.logits(self.model, images)
        if logits.shape[1:] != self.thresholds.shape:
            raise ValueError(
                f"model must return one logit for each of the {len(self.thresholds)} thresholds, got "
                f"{list(logits.shape)}"
            )
        return logits - self.thresholds.to(logits)
