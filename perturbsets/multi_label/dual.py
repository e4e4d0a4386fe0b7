"""What methods have in common that train a classifier with the help of a multi-label classifier."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import LabelLogits, Logits, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary, AttackResult
from perturbsets.adversaries.worst import Worst
from perturbsets.fingerprint import digest
from perturbsets.label_states import check_label_logits
from perturbsets.model_call import preserve_state
from perturbsets.multi_label.objectives import binary_cross_entropy
from perturbsets.multi_label.training import Fooling, fool_labels
from perturbsets.objectives.classification import check_logits
from perturbsets.training.method import DualTargets, OneUpdate, Update, batch_classes_and_states

Consistency = Callable[[Logits, LabelLogits], PerImage]


class Example(NamedTuple):
    """A version of each image of a batch that the classifier, the auxiliary classifier or both learn from.

    Attributes:
        images: In the order of the batch.
        class_weight: Weight of the classifier's loss; at 0 the classifier does not see it.
        label_weight: Weight of the auxiliary classifier's own loss; at 0 the auxiliary classifier does not learn from
            it.
    """

    images: Samples
    class_weight: float = 0.0
    label_weight: float = 0.0


class Shown(NamedTuple):
    """All examples of a step.

    Attributes:
        examples: Those of the auxiliary classifier alone first, then those of both, then those of the classifier alone.
        label_logits: What a frozen auxiliary classifier says of each that the classifier sees, where rules ask for it.
    """

    examples: list[Example]
    label_logits: list[LabelLogits]


@dataclass(frozen=True)
class AuxiliaryTraining(OneUpdate):
    r"""Trains a classifier :math:`f_\theta` with examples that fool a multi-label classifier :math:`g_\omega`.

    .. math:: x'_\omega = \arg \max_{x' \in S(x)} \ell_\omega(g_\omega(x'), z), \qquad
        \sum_i \lambda_i \big( \ell(f_\theta(x_i), y) + \mu\, R(f_\theta(x_i), g_\omega(x_i)) \big)
        + \nu\, \ell_\omega(g_\omega, z)

    with y the class and z the states of labels; a scheme says which :math:`x_i` the classifier is shown. To the
    classifier :math:`x'_\omega` is a transfer attack, weaker than one on itself. Data give (image, class number, states
    of labels).

    The auxiliary classifier is frozen, or learns along. Frozen, it gets no gradient, is asked in evaluation mode and is
    no part of the checkpoint, but its weights are part of the training's name. Learning along, it is the label branch
    of the model under training (:class:`perturbsets.models.DualConvNet`): its binary cross-entropy is a part of the
    same loss, on clean images or, half and half, on its own adversarial ones too. Separate networks share no weight, so
    that one step on the sum is a step of each in turn; only the limit on the gradient's norm looks at both.

    Rules may judge what the classifier says by what the auxiliary classifier says of the same image. They teach an
    auxiliary classifier that learns along, too; what a frozen one says counts as it is, also where the adversary fooled
    it.

    Args:
        auxiliary_adversary: The search for :math:`x'_\omega`, on any set, with a multi-label objective; images of which
            it can ask nothing, as their states are, stay clean.
        auxiliary: A frozen auxiliary classifier, on the device of the training; if not given, the model's label branch
            is the auxiliary.
        auxiliary_weight: :math:`\nu \ge 0`, of an auxiliary classifier that learns along.
        auxiliary_adversarial: Whether an auxiliary classifier that learns along learns from :math:`x'_\omega` too.
        rules: R, from logits of classes and of labels to a loss of each image, such as a rule's inconsistency.
        rules_weight: :math:`\mu \ge 0`.

    Raises:
        ValueError: If a weight is not finite or negative, or is given for what is not there.
    """

    auxiliary_adversary: Adversary | Worst
    auxiliary: nn.Module | None = field(default=None, kw_only=True)
    auxiliary_weight: float = field(default=1.0, kw_only=True)
    auxiliary_adversarial: bool = field(default=False, kw_only=True)
    rules: Consistency | None = field(default=None, kw_only=True)
    rules_weight: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("auxiliary_weight", "rules_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number of 0 or more, got {getattr(self, name)}")
        if self.auxiliary is not None and self.auxiliary_adversarial:
            raise ValueError(
                "auxiliary_adversarial must be False with a frozen auxiliary classifier, got True: leave auxiliary out"
            )
        if self.rules is None and self.rules_weight:
            raise ValueError(f"rules_weight must be 0 without rules, got {self.rules_weight}: give rules")

    def targets(self, given: Sequence[Tensor]) -> DualTargets:
        return batch_classes_and_states(given)

    @abstractmethod
    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        """The examples of a scheme; accuracy in the records is that on the last one."""

    def prepare(self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator) -> Shown:
        found = [
            example
            for example in self.examples(bare, images, labels, generator)
            if example.class_weight or example.label_weight
        ]
        # One pass takes all of them; in this order classes and labels are wanted of rows that hang together.
        found.sort(key=lambda example: bool(example.class_weight) - bool(example.label_weight))
        said: list[LabelLogits] = []
        if self.rules is not None and self.auxiliary is not None:
            with preserve_state(self.auxiliary, images.device), torch.no_grad():
                said = [model_call.logits(self.auxiliary, example.images) for example in found]
        return Shown(found, said)

    def losses(self, model: Callable[..., Any], images: Samples, shown: Shown, labels: DualTargets) -> Update:
        logits, says = self._logits(model, shown, labels)
        total = torch.zeros_like(logits[0][:, 0])
        for number, example in enumerate(shown.examples[-len(logits) :], -len(logits)):
            loss = F.cross_entropy(logits[number], labels.classes, reduction="none")
            if self.rules is not None:
                loss = loss + self.rules_weight * self.rules(logits[number], says[number])
            total = total + example.class_weight * loss
        for number, example in enumerate(shown.examples):
            if example.label_weight:
                loss = binary_cross_entropy(says[number], labels.states)
                total = total + self.auxiliary_weight * example.label_weight * loss
        return total, logits[-1]

    def _logits(
        self, model: Callable[..., Any], shown: Shown, labels: DualTargets
    ) -> tuple[list[Logits], list[LabelLogits]]:
        """Logits of one pass: of the last examples by class, and of the first, or of all, by label."""
        count, examples = len(labels.classes), shown.examples
        every = torch.cat([example.images for example in examples])
        seen = sum(bool(example.class_weight) for example in examples)
        if self.auxiliary is not None:
            logits, says = model_call.class_logits(model, every), shown.label_logits
        else:
            asked = sum(bool(example.label_weight) for example in examples) if self.rules is None else len(examples)
            rows = {"class_rows": slice((len(examples) - seen) * count, None), "label_rows": slice(0, asked * count)}
            logits, label_logits = model(every, both=True, **rows)
            check_label_logits(label_logits, labels.states.repeat(asked, 1))
            says = list(label_logits.unflatten(0, (asked, count)))
        check_logits(logits, labels.classes.repeat(seen))
        return list(logits.unflatten(0, (seen, count))), says

    def _auxiliary(self, bare: nn.Module) -> nn.Module:
        """The multi-label classifier that helps.

        Raises:
            ValueError: If there is none, or there are two.
        """
        branch: nn.Module | None = getattr(bare, "label_branch", None)
        if (self.auxiliary is None) == (branch is None):
            got = "neither" if branch is None else "both"
            raise ValueError(
                f"auxiliary must be given, or be the label branch of the model under training, got {got} for a "
                f"{type(bare).__name__}: train a DualConvNet without `auxiliary`, or any classifier with one"
            )
        return branch if self.auxiliary is None else self.auxiliary  # type: ignore[return-value]

    def _fool_auxiliary(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> Fooling:
        """What the adversary of the auxiliary classifier finds."""
        return fool_labels(self.auxiliary_adversary, self._auxiliary(bare), images, labels.states, generator=generator)

    @property
    def _lessons(self) -> tuple[float, float]:
        """What the clean image and its own adversarial one weigh in the auxiliary classifier's loss."""
        if self.auxiliary is not None:
            return 0.0, 0.0
        return (0.5, 0.5) if self.auxiliary_adversarial else (1.0, 0.0)


def check_share(weight: float) -> None:
    """Refuses weights of two losses that are no shares.

    Raises:
        ValueError: If it is outside of [0, 1].
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be a share in [0, 1], got {weight}")


# Scheme S1: a classifier on clean images, and on those that fool a multi-label classifier.


@dataclass(frozen=True)
class DualS1(AuxiliaryTraining):
    r"""Cross-entropy on clean images and on the auxiliary classifier's adversarial ones.

    .. math:: (1 - \lambda)\, \ell(f_\theta(x), y) + \lambda\, \ell(f_\theta(x'_\omega), y)

    No gradient of the classifier goes into an example. For the auxiliary classifier, the rules and their arguments see
    :class:`AuxiliaryTraining`. Accuracy in the records is that on the auxiliary classifier's adversarial images.

    Args:
        weight: :math:`\lambda`, in [0, 1].

    Raises:
        ValueError: If the weight is outside of its range, or as :class:`AuxiliaryTraining`.

    Example:
        >>> from perturbsets import Adversary, OneStep, PixelBall
        >>> from perturbsets.models import DualConvNet
        >>> from perturbsets.multi_label import BinaryCrossEntropy
        >>> fool = Adversary(PixelBall("linf", 0.1), BinaryCrossEntropy(), OneStep(keep_best=False))
        >>> model = DualConvNet(1, 8, 8, classes=3, labels=2)
        >>> targets = DualTargets(torch.tensor([0, 2]), torch.tensor([[1.0, 0.0], [torch.nan, 1.0]]))
        >>> ((losses, logits),) = DualS1(fool)(model, model, torch.rand(2, 1, 8, 8), targets, torch.Generator())
        >>> logits.shape
        torch.Size([2, 3])
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.weight)

    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        fooling = self._fool_auxiliary(bare, images, labels, generator).images
        clean, own = self._lessons
        return [Example(images, 1 - self.weight, clean), Example(fooling, self.weight, own)]


# Scheme S2: a classifier on images that fool itself, and on those that fool a multi-label classifier.


Combination = Literal["two", "added"]


@dataclass(frozen=True)
class DualS2(AuxiliaryTraining):
    r"""Cross-entropy on the classifier's and the auxiliary classifier's adversarial images, or on one that is both.

    .. math:: \text{two:} \quad (1 - \lambda)\, \ell(f_\theta(x'_\theta), y) + \lambda\, \ell(f_\theta(x'_\omega), y),
        \qquad x'_\theta = \arg \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    .. math:: \text{added:} \quad \ell\big(f_\theta(g(x, u)), y\big), \qquad u = \Pi_B(u_\theta + u_\omega)

    with :math:`u_\theta, u_\omega` where the two adversaries ended in their one set, and g what the set makes of
    offsets. That is the projected sum of two offsets, not the step along the sum of two gradients. For the auxiliary
    classifier, the rules and their arguments see :class:`AuxiliaryTraining`. Accuracy in the records is that on the
    classifier's own adversarial images, or on the image that is both.

    Args:
        adversary: The search for :math:`x'_\theta`, with an objective of classes.
        weight: :math:`\lambda`, in [0, 1], of ``"two"``; ``"added"`` has none.
        combine: ``"two"`` examples, or the two offsets ``"added"``.

    Raises:
        ValueError: If the weight is outside of its range, the adversaries of ``"added"`` have not one set, or as
            :class:`AuxiliaryTraining`.

    Example:
        >>> from perturbsets import CrossEntropy, OneStep, PixelBall
        >>> from perturbsets.multi_label import BinaryCrossEntropy
        >>> ball, step = PixelBall("linf", 0.1), OneStep(keep_best=False)
        >>> method = DualS2(
        ...     Adversary(ball, BinaryCrossEntropy(), step), Adversary(ball, CrossEntropy(), step), combine="added"
        ... )
    """

    adversary: Adversary | Worst
    weight: float = 0.5
    combine: Combination = "two"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.weight)
        if self.combine not in get_args(Combination):
            raise ValueError(f"combine must be one of {list(get_args(Combination))}, got {self.combine!r}")
        if self.combine == "added":
            sets = [getattr(each, "perturbations", None) for each in (self.auxiliary_adversary, self.adversary)]
            if None in sets or digest(sets[0]) != digest(sets[1]):
                raise ValueError(
                    f'combine="added" must add offsets of one set, got {sets[0]} and {sets[1]}: give both adversaries '
                    'the same set, or combine="two"'
                )

    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        fooling = self._fool_auxiliary(bare, images, labels, generator)
        own = self.adversary(bare, images, labels.classes, generator=generator, rank="value")
        clean_lesson, own_lesson = self._lessons
        clean = Example(images, 0.0, clean_lesson)
        if self.combine == "two":
            return [
                clean,
                Example(fooling.images, self.weight, own_lesson),
                Example(own.images, 1 - self.weight),
            ]
        assert isinstance(self.adversary, Adversary)
        assert fooling.offsets is not None
        assert isinstance(own, AttackResult)
        region = self.adversary.perturbations.at(images)
        with torch.no_grad():
            both = region.decode(region.project(fooling.offsets + own.offsets))
        return [clean, Example(fooling.images, 0.0, own_lesson), Example(both, 1.0)]
