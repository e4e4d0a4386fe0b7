"""The difference of logits ratio: a margin that does not care how the logits are scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perturbsets._types import Labels, Logits, Model, PerImage, Samples
from perturbsets.objectives.base import Objective
from perturbsets.objectives.classification import ClassifierLoss, bind
from perturbsets.objectives.margin import margin

SMALLEST = 1e-12  # where all logits are equal there is no scale to divide by


@dataclass(frozen=True)
class DLR(Objective):
    r"""Margin over a spread of the logits; blind to their scale and offset, unlike cross-entropy.

    .. math:: \ell(z, y) = \frac{\max_{k \ne y} z_k - z_y}{z_{\pi_1} - z_{\pi_3}}, \qquad
        \ell_t(z, t) = \frac{z_t - \max_{k \ne t} z_k}{z_{\pi_1} - \frac12 (z_{\pi_3} + z_{\pi_4})}

    with :math:`\pi` the order of the logits, largest first. Where the true class leads, the targeted form is
    the published one.

    Args:
        targeted: Whether the labels given are targets.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks*, 2020, eq. 6 and 8.
    """

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier and class numbers ``[B]``.

        Raises:
            ValueError: If labels do not fit the samples; at the first call if there are fewer than 3 classes, or
                4 for the targeted form.
        """
        return bind(model, images, labels, _targeted_ratio if self.targeted else _ratio, targeted=self.targeted)


def _ratio(logits: Logits, labels: Labels) -> PerImage:
    first, _, third = _ordered(logits, 3, "DLR")
    return margin(logits, labels) / (first - third).clamp_min(SMALLEST)


def _targeted_ratio(logits: Logits, labels: Labels) -> PerImage:
    first, _, third, fourth = _ordered(logits, 4, "targeted DLR")
    return margin(logits, labels) / (first - (third + fourth) / 2).clamp_min(SMALLEST)


def _ordered(logits: Logits, count: int, name: str) -> tuple[Tensor, ...]:
    """The largest logits, largest first."""
    if logits.shape[1] < count:
        raise ValueError(
            f"model must have at least {count} classes for {name}, got {logits.shape[1]}: use Margin, which needs 2"
        )
    return logits.topk(count, dim=1).values.unbind(1)
