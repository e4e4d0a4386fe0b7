"""Training against adversaries that imitate the inner representations of other classes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from perturbsets._types import Classes, Flags, Labels, Rows, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.layer_outputs import LayerOutputs
from perturbsets.model_call import preserve_state
from perturbsets.objectives.classification import class_numbers
from perturbsets.objectives.feature_distance import FeatureDistance, LinearFeatureDistance, square
from perturbsets.rows import check_weights
from perturbsets.training.method import Classifier, OneUpdate, Update, paired_forward


@dataclass(frozen=True)
class FeatureAdversarialTraining(OneUpdate):
    r"""Cross-entropy on clean images and on those of a feature adversary.

    .. math:: \ell(f_\theta(x), y) + \lambda\, \ell(f_\theta(x'), y), \qquad
        x' = \arg \min_{z \in S(x)} \sum_k \frac{\|\phi_k(z) - \phi_k(g)\|^2}{\|\phi_k(x) - \phi_k(g)\|^2}

    with the guide g drawn from the images of other classes in the same batch. The adversary uses no labels: it gives an
    image the representation of one of another class. An image without a guide, since its batch holds one class only, or
    whose guide has the same representation in one of the layers, stays as it is. Accuracy in the records is that on the
    changed images.

    Args:
        adversary: The search for such images, on any set, with the objective :class:`FeatureDistance` or
            :class:`LinearFeatureDistance`.
        weight: :math:`\lambda \ge 0`.

    Raises:
        ValueError: If the objective is another one, or the weight is not finite or negative.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016 (the adversary; to train
        against it is ours).

    Example:
        >>> from perturbsets import PixelBall, ProjectedGradient
        >>> adversary = Adversary(PixelBall("linf", 0.1), FeatureDistance("layers.8"), ProjectedGradient(5))
        >>> method = FeatureAdversarialTraining(adversary)
    """

    adversary: Adversary
    _: KW_ONLY
    weight: float = 1.0

    def __post_init__(self) -> None:
        objective = self.adversary.objective
        if not isinstance(objective, FeatureDistance | LinearFeatureDistance):
            raise ValueError(
                "adversary must have the objective FeatureDistance or LinearFeatureDistance, got "
                f"{type(objective).__name__}: write Adversary(perturbations, FeatureDistance(layers), ascent)"
            )
        check_weights(weight=self.weight)

    def prepare(self, bare: nn.Module, images: Samples, labels: Classes, generator: torch.Generator) -> Samples:
        labels = class_numbers(labels, images)
        guides = others(labels, generator)
        rows = self._differ(bare, images, guides).nonzero()[:, 0]
        if not len(rows):
            return images
        result = self.adversary(bare, images[rows], images[guides[rows]], generator=generator, rank="value")
        return images.index_copy(0, rows, result.images)

    def losses(self, model: Classifier, images: Samples, prepared: Samples, labels: Labels) -> Update:
        clean, changed = paired_forward(model, images, prepared, labels)
        natural, moved = (F.cross_entropy(logits, labels, reduction="none") for logits in (clean, changed))
        return natural + self.weight * moved, changed

    def _differ(self, bare: nn.Module, images: Samples, guides: Rows) -> Flags:
        """Images whose representation differs from their guide's in every layer; elsewhere there is no objective."""
        objective = self.adversary.objective
        assert isinstance(objective, FeatureDistance | LinearFeatureDistance)
        with preserve_state(bare, images.device, self.adversary.mode), torch.no_grad():
            outputs = LayerOutputs(bare, objective.layers, activation=objective.activation)(images)
            return torch.stack([square(each, each[guides]) > 0 for each in outputs.values()]).all(0)


def others(labels: Labels, generator: torch.Generator | None = None) -> Rows:
    """For each image another one of the batch, drawn from those of other classes; itself where there is none.

    Example:
        >>> others(torch.tensor([0, 0, 0, 1])).tolist()[:3]
        [3, 3, 3]
    """
    if not len(labels):
        return labels
    differ = labels[:, None] != labels
    alone = ~differ.any(1)
    weights = (differ | alone.diag()).float()
    device = weights.device if generator is None else generator.device
    return torch.multinomial(weights.to(device), 1, generator=generator)[:, 0].to(labels.device)
