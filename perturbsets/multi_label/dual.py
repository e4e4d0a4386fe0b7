"""Training a classifier with examples that fool an auxiliary multi-label classifier: schemes S1 and S2."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perturbsets import model_call
from perturbsets._types import LabelLogits, Logits, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary, AttackResult
from perturbsets.adversaries.worst import Worst
from perturbsets.fingerprint import digest
from perturbsets.label_states import check_label_logits, label_branch
from perturbsets.model_call import preserve_state
from perturbsets.multi_label.objectives import binary_cross_entropy
from perturbsets.multi_label.training import AdversarialBatch, attack_attainable
from perturbsets.objectives.classification import check_logits
from perturbsets.rows import check_choice, check_weights
from perturbsets.training.method import DualTargets, OneUpdate, Update, batch_classes_and_states

Consistency = Callable[[Logits, LabelLogits], PerImage]
Combination = Literal["two", "added"]


class Example(NamedTuple):
    """A version of each image of a batch, with its weight in the loss of either classifier, which at 0 skips it."""

    images: Samples
    class_weight: float = 0.0
    label_weight: float = 0.0


class StepExamples(NamedTuple):
    """All examples of an optimizer step.

    Attributes:
        examples: Those of the auxiliary classifier alone first, then those of both, then those of the classifier alone.
        label_logits: Logits of a frozen auxiliary classifier for each example, where rules need them.
    """

    examples: list[Example]
    label_logits: list[LabelLogits]


@dataclass(frozen=True)
class AuxiliaryTraining(OneUpdate):
    r"""Trains a classifier :math:`f_\theta` with examples that fool an auxiliary classifier :math:`g_\omega` of labels.

    .. math:: x'_\omega = \arg \max_{x' \in S(x)} \ell_\omega(g_\omega(x'), z), \qquad
        \sum_i \lambda_i \big( \ell(f_\theta(x_i), y) + \mu\, R(f_\theta(x_i), g_\omega(x_i)) \big)
        + \nu\, \ell_\omega(g_\omega, z)

    with y the class and z the states of labels; a scheme chooses the :math:`x_i`. For the classifier,
    :math:`x'_\omega` is a transfer attack, weaker than one on itself. Data are (image, class number, states).

    A frozen auxiliary classifier gets no gradient, runs in evaluation mode and is not part of the checkpoint; its
    weights are part of the training's fingerprint. Otherwise it is the label branch of the model under training
    (:class:`~perturbsets.label_states.DualModel`, such as :class:`perturbsets.models.DualConvNet`) and learns along:
    its binary cross-entropy joins the loss, on clean images or, half and half, on its own adversarial ones too.
    Separate networks share no weight, so that one step on the sum is a step of each; only a limit on the gradient's
    norm sees both.

    Rules compare the class logits with the label logits of the same image. They also teach an auxiliary classifier that
    learns along; a frozen one's logits are taken as they are, also where the adversary fooled it.

    Args:
        auxiliary_adversary: The search for :math:`x'_\omega`, on any set, with a multi-label objective; images whose
            states leave it nothing to attain stay clean.
        auxiliary: A frozen auxiliary classifier, on the device of the training; if not given, the model's label branch.
        auxiliary_weight: :math:`\nu \ge 0`, of an auxiliary classifier that learns along.
        auxiliary_adversarial: Whether an auxiliary classifier that learns along learns from :math:`x'_\omega` too.
        rules: R, from logits of classes and of labels to a loss per image, such as the inconsistency of
            :class:`~perturbsets.knowledge.BoundRules`.
        rules_weight: :math:`\mu \ge 0`.

    Raises:
        ValueError: If a weight is negative or not finite, or is given without what it weighs.
    """

    auxiliary_adversary: Adversary | Worst
    _: KW_ONLY
    auxiliary: nn.Module | None = None
    auxiliary_weight: float = 1.0
    auxiliary_adversarial: bool = False
    rules: Consistency | None = None
    rules_weight: float = 0.0

    def __post_init__(self) -> None:
        check_weights(auxiliary_weight=self.auxiliary_weight, rules_weight=self.rules_weight)
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

    def prepare(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> StepExamples:
        every = self.examples(bare, images, labels, generator)
        examples = [each for each in every if each.class_weight or each.label_weight]
        # One pass takes all of them; in this order the rows that need logits of classes, or of labels, are contiguous.
        examples.sort(key=lambda example: bool(example.class_weight) - bool(example.label_weight))
        label_logits: list[LabelLogits] = []
        if self.rules is not None and self.auxiliary is not None:
            with preserve_state(self.auxiliary, images.device), torch.no_grad():
                label_logits = [model_call.logits(self.auxiliary, example.images) for example in examples]
        return StepExamples(examples, label_logits)

    def losses(self, model: Callable[..., Any], images: Samples, shown: StepExamples, labels: DualTargets) -> Update:
        class_logits, label_logits = self._logits(model, shown, labels)
        total = torch.zeros_like(class_logits[0][:, 0])
        for number, example in enumerate(shown.examples[-len(class_logits) :], -len(class_logits)):
            loss = F.cross_entropy(class_logits[number], labels.classes, reduction="none")
            if self.rules is not None:
                loss = loss + self.rules_weight * self.rules(class_logits[number], label_logits[number])
            total = total + example.class_weight * loss
        for number, example in enumerate(shown.examples):
            if example.label_weight:
                loss = binary_cross_entropy(label_logits[number], labels.states)
                total = total + self.auxiliary_weight * example.label_weight * loss
        return total, class_logits[-1]

    def _logits(
        self, model: Callable[..., Any], shown: StepExamples, labels: DualTargets
    ) -> tuple[list[Logits], list[LabelLogits]]:
        """Logits of one pass: of the last examples by class, and of the first, or of all, by label."""
        count, examples = len(labels.classes), shown.examples
        every = torch.cat([example.images for example in examples])
        by_class = sum(bool(example.class_weight) for example in examples)
        if self.auxiliary is not None:
            class_logits, label_logits = model_call.class_logits(model, every), shown.label_logits
        else:
            by_label = len(examples) if self.rules is not None else sum(bool(each.label_weight) for each in examples)
            rows = {
                "class_rows": slice((len(examples) - by_class) * count, None),
                "label_rows": slice(0, by_label * count),
            }
            class_logits, labelled = model(every, both=True, **rows)
            check_label_logits(labelled, labels.states.repeat(by_label, 1))
            label_logits = list(labelled.unflatten(0, (by_label, count)))
        check_logits(class_logits, labels.classes.repeat(by_class))
        return list(class_logits.unflatten(0, (by_class, count))), label_logits

    def _fool_auxiliary(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> AdversarialBatch:
        """Adversarial examples of the auxiliary classifier: the one given, or the label branch of the model.

        Raises:
            ValueError: If there is no auxiliary classifier, or there are two.
        """
        branch = label_branch(bare)
        if (self.auxiliary is None) == (branch is None):
            got = "neither" if branch is None else "both"
            raise ValueError(
                f"auxiliary must be given, or be the label branch of the model under training, got {got} for a "
                f"{type(bare).__name__}: train a DualConvNet without `auxiliary`, or any classifier with one"
            )
        model = branch if self.auxiliary is None else self.auxiliary
        assert model is not None
        return attack_attainable(self.auxiliary_adversary, model, images, labels.states, generator=generator)

    @property
    def _label_weights(self) -> tuple[float, float]:
        """Weights of the clean image and of its own adversarial one in the auxiliary classifier's loss."""
        if self.auxiliary is not None:
            return 0.0, 0.0
        return (0.5, 0.5) if self.auxiliary_adversarial else (1.0, 0.0)


def _check_share(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be a share in [0, 1], got {weight}")


@dataclass(frozen=True)
class DualS1(AuxiliaryTraining):
    r"""Scheme S1: cross-entropy on clean images and on the auxiliary classifier's adversarial ones.

    .. math:: (1 - \lambda)\, \ell(f_\theta(x), y) + \lambda\, \ell(f_\theta(x'_\omega), y)

    No gradient of the classifier goes into an example. Accuracy in the records is that on the auxiliary classifier's
    adversarial images.

    Args:
        weight: :math:`\lambda`, in [0, 1]; other arguments as for :class:`AuxiliaryTraining`.

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

    _: KW_ONLY
    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share(self.weight)

    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        fooling = self._fool_auxiliary(bare, images, labels, generator).images
        clean_weight, fooling_weight = self._label_weights
        return [Example(images, 1 - self.weight, clean_weight), Example(fooling, self.weight, fooling_weight)]


@dataclass(frozen=True)
class DualS2(AuxiliaryTraining):
    r"""Scheme S2: cross-entropy on adversarial images of classifier and auxiliary classifier, apart or combined.

    .. math:: \text{two:} \quad (1 - \lambda)\, \ell(f_\theta(x'_\theta), y) + \lambda\, \ell(f_\theta(x'_\omega), y),
        \qquad x'_\theta = \arg \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    .. math:: \text{added:} \quad \ell\big(f_\theta(g(x, u)), y\big), \qquad u = \Pi_B(u_\theta + u_\omega)

    with :math:`u_\theta, u_\omega` the offsets that the two adversaries found in their common set, and g the decoder of
    the set. That is the projected sum of two offsets, not a step along the sum of two gradients. Accuracy in the
    records is that on the classifier's own adversarial images, or on the combined ones.

    Args:
        adversary: The search for :math:`x'_\theta`, with an objective over classes.
        weight: :math:`\lambda`, in [0, 1], of ``"two"``; ``"added"`` has none. Other arguments as for
            :class:`AuxiliaryTraining`.
        combine: ``"two"`` examples, or the two offsets ``"added"``.

    Raises:
        ValueError: If the weight is outside of its range, the adversaries of ``"added"`` have different sets, or as
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
    _: KW_ONLY
    weight: float = 0.5
    combine: Combination = "two"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share(self.weight)
        check_choice("combine", self.combine, Combination)
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
        clean_weight, fooling_weight = self._label_weights
        clean = Example(images, 0.0, clean_weight)
        if self.combine == "two":
            return [
                clean,
                Example(fooling.images, self.weight, fooling_weight),
                Example(own.images, 1 - self.weight),
            ]
        assert isinstance(self.adversary, Adversary)
        assert isinstance(own, AttackResult)
        assert fooling.offsets is not None
        region = self.adversary.perturbations.at(images)
        with torch.no_grad():
            combined = region.decode(region.project(fooling.offsets + own.offsets))
        return [clean, Example(fooling.images, 0.0, fooling_weight), Example(combined, 1.0)]
