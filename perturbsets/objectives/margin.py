"""The margin between the best wrong class and the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perturbsets._types import Labels, Logits, Model, PerImage, Samples
from perturbsets.objectives.base import Objective
from perturbsets.objectives.classification import ClassifierLoss, bind


@dataclass(frozen=True)
class Margin(Objective):
    r"""How far the best wrong class lies above the true one (raised), or a target below the rest (lowered).

    .. math:: \ell(z, y) = \max_{k \ne y} z_k - z_y

    Unlike cross-entropy it does not saturate where the model is very sure.

    Args:
        targeted: Whether the labels given are targets.

    References:
        Carlini and Wagner, *Towards evaluating the robustness of neural networks*, 2017, f6.
    """

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier and class numbers ``[B]``.

        Raises:
            ValueError: If labels do not fit the samples.
        """
        return bind(model, images, labels, margin, targeted=self.targeted)


def margin(logits: Logits, labels: Labels) -> PerImage:
    """The best other logit minus that of the label."""
    column = labels[:, None]
    return logits.scatter(1, column, float("-inf")).amax(1) - logits.gather(1, column)[:, 0]
