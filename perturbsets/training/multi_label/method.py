"""Training a classifier of many labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import PerLabel, Samples, States
from perturbsets.adversary import Adversary
from perturbsets.label_states import check_label_logits
from perturbsets.objectives.multi_label.binary_cross_entropy import binary_cross_entropy
from perturbsets.training.method import Classifier, OneUpdate, Update
from perturbsets.training.multi_label.attainable import fool_labels
from perturbsets.training.targets import states_told
from perturbsets.worst import Worst


@dataclass(frozen=True)
class MultiLabel(OneUpdate):
    r"""Binary cross-entropy of each known label, on clean images or on those of an adversary.

    .. math:: \min_\omega \mathbb E\, \frac{1}{|K|} \sum_{j \in K} w_j\, \ell_{p_j}(g_\omega(x')_j, z_j),
        \qquad \ell_p(s, z) = -p\, z \ln \sigma(s) - (1 - z) \ln (1 - \sigma(s))

    with K the labels whose state is known, and x' the clean image, or the worst one in a set. Data give (image,
    states), or (image, class, states), of which the class is left aside. Accuracy in the records is the share of the
    known states that are right.

    Args:
        positive: Weight :math:`p_j > 0` of each label's on-states, such as :func:`balancing_weights` gives; 1 if not
            given.
        weights: Weight :math:`w_j \ge 0` of each label, not all 0; 1 if not given.
        adversary: The inner maximisation, on any set, with a multi-label objective; clean images if not given, and
            where states leave it nothing to reach.

    Raises:
        ValueError: If a weight is outside its range.

    Example:
        >>> method = MultiLabel(positive=(4.0, 1.0))
        >>> x, z = torch.rand(3, 1, 2, 2), torch.tensor([[1.0, 0.0], [0.0, torch.nan], [0.0, 1.0]])
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> ((losses, logits),) = method(model, model, x, z, torch.Generator())
        >>> losses.shape, logits.shape
        (torch.Size([3]), torch.Size([3, 2]))
    """

    positive: tuple[float, ...] | PerLabel | None = None
    weights: tuple[float, ...] | PerLabel | None = None
    adversary: Adversary | Worst | None = None

    def __post_init__(self) -> None:
        positive, weights = (_tensor(given) for given in (self.positive, self.weights))
        if positive is not None and not bool(((positive > 0) & (positive < math.inf)).all()):  # NaN fails too
            raise ValueError(f"positive must be above 0 and finite, one for each label, got {self.positive}")
        if weights is not None and not bool(((weights >= 0) & (weights < math.inf)).all() & (weights > 0).any()):
            raise ValueError(f"weights must be 0 or more and finite, one for each label, not all 0, got {self.weights}")

    def targets(self, told: Sequence[Tensor]) -> States:
        return states_told(told)

    def shown(self, bare: nn.Module, images: Samples, labels: States, generator: torch.Generator) -> Samples:
        if self.adversary is None:
            return images
        return fool_labels(self.adversary, bare, images, labels, generator=generator).images

    def losses(self, model: Classifier, images: Samples, shown: Samples, labels: States) -> Update:
        logits = model_call.logits(model, shown)
        check_label_logits(logits, labels)
        weights, positive = (self._for_labels(name, labels) for name in ("weights", "positive"))
        return binary_cross_entropy(logits, labels, weights, positive), logits

    def _for_labels(self, name: str, labels: States) -> PerLabel | None:
        """One of the two kinds of weights, where the states lie."""
        given = _tensor(getattr(self, name))
        if given is not None and given.shape != labels.shape[1:]:
            raise ValueError(f"{name} must be one for each of the {labels.shape[1]} labels, got {list(given.shape)}")
        return None if given is None else given.to(labels)


def _tensor(given: tuple[float, ...] | Tensor | None) -> Tensor | None:
    return None if given is None else torch.as_tensor(given)
