"""Thresholds of labels as a part of the model, so that a label is on where its logit is above 0."""

from __future__ import annotations

from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import LabelLogits, PerLabel, Samples


class Thresholded(nn.Module):
    r"""A multi-label classifier less a threshold for each label.

    .. math:: g(x) - t

    What attacks and scores call a label's probability, the sigmoid of its logit, is then 1/2 at the threshold.

    Args:
        model: From samples to one logit for each label.
        thresholds: In logits, such as :func:`perturbsets.choose_thresholds` gives; saved with the model's weights.

    Raises:
        ValueError: If a threshold is not finite, or at a call, if there is not one for each label.

    Example:
        >>> import torch
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
        """Samples to logits.

        Raises:
            ValueError: If the number of labels is another one.
        """
        logits = model_call.logits(self.model, images)
        if logits.shape[1:] != self.thresholds.shape:
            raise ValueError(
                f"model must return one logit for each of the {len(self.thresholds)} thresholds, got "
                f"{list(logits.shape)}"
            )
        return logits - self.thresholds.to(logits)
