"""Objectives over the logits of a classifier: cross-entropy, margins, their ratio, and divergence (TRADES)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perturbsets._types import Flags, Labels, Logits, Model, Offsets, PerImage, Rows, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.base import Loss, Objective
from perturbsets.rows import as_tensor

Score = Callable[[Logits, Labels], PerImage]


class ClassifierLoss(Loss):
    """A score of logits, bound to a classifier and labels: raised for true classes, lowered for targets.

    Where targets come with the true classes, as ``truth``, any other prediction than these is a success.
    """

    def __init__(
        self, model: Model, labels: Labels, score: Score, *, targeted: bool, truth: Labels | None = None
    ) -> None:
        self.model, self.labels, self.score, self.targeted, self.truth = model, labels, score, targeted, truth
        self._checked = False

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = self.logits(images)
        predicted = logits.detach().argmax(1)
        value = self.score(logits, self.labels)
        if self.truth is not None:
            return -value, predicted != self.truth
        if self.targeted:
            return -value, predicted == self.labels
        return value, predicted != self.labels

    def logits(self, images: Samples) -> Logits:
        """The model's logits, checked at the first call."""
        logits = class_logits(self.model, images)
        if not self._checked:
            check_logits(logits, self.labels)
            self._checked = True
        return logits

    def select(self, rows: Rows) -> ClassifierLoss:
        truth = None if self.truth is None else self.truth[rows]
        kept = ClassifierLoss(self.model, self.labels[rows], self.score, targeted=self.targeted, truth=truth)
        kept._checked = self._checked
        return kept


def class_numbers(labels: Any, images: Samples) -> Labels:
    """Labels as one class number per image, on the device of the images.

    Raises:
        ValueError: If they are no whole numbers ``[B]`` or ``[B, 1]``, as a tensor, array or list.
    """
    labels, count = as_tensor(labels), len(images)
    if labels.shape not in ((count,), (count, 1)) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be one whole class number per image, [{count}] or [{count}, 1], got {list(labels.shape)} of "
            f"{labels.dtype}: {_advice(labels, count)}"
        )
    return labels.reshape(count).to(images.device).long()


def _advice(labels: Tensor, count: int) -> str:
    """What to write in place of labels that are no class numbers."""
    if labels.ndim == 0:
        return "one image needs a batch too, write images[None] and labels[None]"
    if labels.shape in ((count,), (count, 1)):
        return "write labels.long() where they are classes, and take a FunctionObjective for another target"
    if labels.ndim == 2 and len(labels) == count:
        return "write labels.argmax(1) where they are one-hot, and take BinaryCrossEntropy for several labels per image"
    if labels.ndim > 2 and len(labels) == count:
        return "take SegmentationCrossEntropy for a class per pixel"
    return "give one for each image"


def check_finite(logits: Logits) -> None:
    """Refuses logits that are NaN or infinite, of which no prediction can be made."""
    broken = int((~logits.isfinite().all(1)).sum())
    if broken:
        raise ValueError(
            f"model must return finite logits, got NaN or infinity on {broken} of {len(logits)} images: train it again"
        )


def check_logits(logits: Tensor, labels: Labels) -> None:
    """Refuses logits that are not a matrix ``[B, K]``, and labels outside its classes."""
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(
            f"model must return logits [B, K] with B = {len(labels)}, got {list(logits.shape)}: a model of logits per "
            "pixel is attacked by SegmentationCrossEntropy, another one by a FunctionObjective"
        )
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"model must return logits of at least 1 class, [B, 1] or [B, K], got {classes}")
    if labels.numel():
        low, high = (int(bound) for bound in torch.aminmax(labels))
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels must be within 0 and {classes - 1} for a model of {classes} classes, got {low} to {high}: "
                "classes count from 0"
            )


@dataclass(frozen=True, kw_only=True)
class LogitObjective(Objective):
    """A score of the logits of a classifier; subclasses say which."""

    targeted: bool = False

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier and class numbers ``[B]``."""
        if model is None:
            raise ValueError("model must be a classifier for this objective, got None")
        return ClassifierLoss(model, class_numbers(labels, images), self.score, targeted=self.targeted)

    @abstractmethod
    def score(self, logits: Logits, labels: Labels) -> PerImage:
        """Value of each image, raised in the untargeted form."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(LogitObjective):
    r"""Cross-entropy of the true class (raised), or of a target class (lowered).

    .. math:: \ell(z, y) = -z_y + \ln \sum_k e^{z_k}

    The attack succeeds when the predicted class is not the true one, or is the target.

    Args:
        targeted: Whether the labels given are targets.
    """

    def score(self, logits: Logits, labels: Labels) -> PerImage:
        return F.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True, kw_only=True)
class Margin(LogitObjective):
    r"""How far the best wrong class lies above the true one (raised), or a target below the rest (lowered).

    .. math:: \ell(z, y) = \max_{k \ne y} z_k - z_y

    Unlike cross-entropy it does not saturate where the model is very confident.

    Args:
        targeted: Whether the labels given are targets.

    References:
        Carlini and Wagner, *Towards evaluating the robustness of neural networks*, 2017, f6.
    """

    def score(self, logits: Logits, labels: Labels) -> PerImage:
        return margin(logits, labels)


def margin(logits: Logits, labels: Labels) -> PerImage:
    """The best other logit minus that of the label."""
    column = labels[:, None]
    return logits.scatter(1, column, float("-inf")).amax(1) - logits.gather(1, column)[:, 0]


SMALLEST = 1e-12  # where all logits are equal there is no scale to divide by


@dataclass(frozen=True, kw_only=True)
class DLR(LogitObjective):
    r"""Difference-of-logits ratio: a margin invariant to scale and shift of the logits.

    .. math:: \ell(z, y) = \frac{\max_{k \ne y} z_k - z_y}{z_{\pi_1} - z_{\pi_3}}, \qquad
        \ell_t(z, t) = \frac{z_t - \max_{k \ne t} z_k}{z_{\pi_1} - \frac12 (z_{\pi_3} + z_{\pi_4})}

    with the order :math:`\pi` of logits, largest first. The targeted form is as published where the true class leads.

    Args:
        targeted: Whether the labels given are targets.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks*, 2020, eq. 6 and 8.
    """

    def score(self, logits: Logits, labels: Labels) -> PerImage:
        count, name = (4, "targeted DLR") if self.targeted else (3, "DLR")
        if logits.shape[1] < count:
            raise ValueError(
                f"model must have at least {count} classes for {name}, got {logits.shape[1]}: use Margin, which needs 2"
            )
        first, _, third, *fourth = logits.topk(count, dim=1).values.unbind(1)
        low = (third + fourth[0]) / 2 if self.targeted else third
        return margin(logits, labels) / (first - low).clamp_min(SMALLEST)


@dataclass(frozen=True)
class StrongestWrong(Objective):
    r"""A targeted objective whose target is the k-th strongest wrong class of the clean sample.

    .. math:: t = \text{the class of the } k\text{-th largest } z_j(x), \; j \ne y

    The attack succeeds when *any* wrong class is predicted: the target only gives the direction. Several adversaries of
    different rank, in :class:`~perturbsets.Worst`, search in several directions.

    Args:
        rank: Number k of the wrong class, 1 for the strongest.
        objective: The targeted objective.

    Raises:
        ValueError: If the rank is below 1, or the objective is not a targeted one over logits.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, sec. 4 (APGD-T, there with targeted DLR).
    """

    rank: int = 1
    _: KW_ONLY
    objective: Objective = field(default_factory=lambda: DLR(targeted=True))

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, the strongest wrong class, got {self.rank}")
        if not getattr(self.objective, "targeted", False):
            raise ValueError(f"objective must be a targeted one, such as DLR(targeted=True), got {self.objective}")

    def at(self, model: Model | None, images: Samples, labels: Any) -> ClassifierLoss:
        """Binds to a classifier of more classes than the rank, and true classes; clean logits are computed once."""
        clean = Margin().at(model, images, labels)
        with torch.no_grad():
            logits = clean.logits(images)
        classes = logits.shape[1]
        if self.rank >= classes:
            raise ValueError(
                f"rank must be within 1 and {classes - 1} for a model of {classes} classes, got {self.rank}"
            )
        wrong = logits.scatter(1, clean.labels[:, None], float("-inf"))
        targets = wrong.topk(self.rank, dim=1).indices[:, -1]
        toward = self.objective.at(model, images, targets)
        if not isinstance(toward, ClassifierLoss):
            raise ValueError(f"objective must be one over the logits of a classifier, got {self.objective}")
        loss = ClassifierLoss(toward.model, targets, toward.score, targeted=True, truth=clean.labels)
        loss.calls = toward.calls + 1
        return loss


class DivergenceLoss(Loss):
    """Kullback-Leibler divergence from clean predictions."""

    calls = 1

    def __init__(self, model: Model, clean: Logits, labels: Labels) -> None:
        self.model, self.clean, self.labels = model, clean, labels

    def __call__(self, images: Samples, offsets: Offsets) -> tuple[PerImage, Flags]:
        logits = class_logits(self.model, images)
        return divergence(self.clean, logits), logits.detach().argmax(1) != self.labels

    def select(self, rows: Rows) -> DivergenceLoss:
        return DivergenceLoss(self.model, self.clean[rows], self.labels[rows])


def divergence(clean: Logits, logits: Logits) -> PerImage:
    r"""Divergence :math:`\mathrm{KL}(p \| q)` of the predictions q of logits from clean ones, given as logarithms."""
    return F.kl_div(logits.log_softmax(1), clean, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class KLDivergence(Objective):
    r"""Divergence of the prediction from that on the clean sample; labels only define success.

    .. math:: \ell(x', x) = \sum_k p_k(x) \ln \frac{p_k(x)}{p_k(x')}

    Its gradient is zero at the clean sample itself, so an ascent must start elsewhere.

    References:
        Zhang et al., *Theoretically principled trade-off between robustness and accuracy*, 2019, eq. 5 (TRADES).
    """

    def at(self, model: Model | None, images: Samples, labels: Any) -> DivergenceLoss:
        """Binds to a classifier and class numbers ``[B]``, ``None`` for the clean predictions, computed once."""
        if model is None:
            raise ValueError("model must be a classifier for this objective, got None")
        held = None if labels is None else class_numbers(labels, images)
        with torch.no_grad():
            clean = class_logits(model, images)
        held = clean.argmax(1) if held is None else held
        check_logits(clean, held)
        return DivergenceLoss(model, clean.log_softmax(1), held)
