"""Rules bound to the labels and classes of data: evidence, consistency and violation, batched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from perturbsets._types import Flags, Labels, Logits, PerImage, States
from perturbsets.intervals import Interval, share_interval
from perturbsets.knowledge.formula import Formula, LabelIs, log_truth, negated
from perturbsets.knowledge.logic import holds, implications, winning_rules
from perturbsets.label_states import label_states
from perturbsets.objectives.classification import class_numbers
from perturbsets.printing import Printed

UNDECIDED = -1  # class number where states imply no class, or several


@dataclass(frozen=True)
class BoundRules(Printed):
    r"""A rule for each class, over the columns of states and logits; :meth:`Rules.bind` makes it.

    A label with logit z is on with probability :math:`\sigma(z)`; the truth :math:`t_c` of the rule of class c is by
    the product t-norm. Where one rule implies another, the more specific class wins: the evidence of class c is

    .. math:: e_c = t_c \prod_{d \Rightarrow c} (1 - t_d)

    With :math:`p` the class probabilities of a classifier, the agreement of classes and labels is
    :math:`\sum_c p_c\, e_c`. Rules that overlap, both met by some states, do not compete otherwise.

    Logits are one per label, or per class; states are ``[B, L]``, 1 for on, 0 for off, NaN for unknown. Methods raise a
    ValueError if they are not.

    Args:
        labels: Names of the labels, in the order of columns.
        classes: Names of the classes, in the order of their numbers.
        rules: A formula for each class.
    """

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    rules: tuple[Formula, ...]

    @cached_property
    def implications(self) -> tuple[tuple[str, str], ...]:
        """Pairs (specific, general) of classes: the rule of the first implies that of the second."""
        return implications(dict(zip(self.classes, self.rules, strict=True)))

    @cached_property
    def _winning(self) -> tuple[Formula, ...]:
        rules = dict(zip(self.classes, self.rules, strict=True))
        return tuple(winning_rules(rules, self.implications).values())

    def evidence(self, label_logits: Float[Tensor, "B L"]) -> Float[Tensor, "B K"]:
        r"""Logarithms :math:`\ln e_c \le 0` of the evidence of labels for each class.

        They are in single precision at least; finite logits give finite evidence and gradients. Evidence need not sum
        to 1: labels may imply several classes, or none.
        """
        logits = _columns("label_logits", label_logits, self.labels)
        log_probability = self._by_leaf(F.logsigmoid(logits), F.logsigmoid(-logits))
        return torch.stack([log_truth(rule, log_probability) for rule in self._winning], 1)

    def inconsistency(self, class_logits: Logits, label_logits: Float[Tensor, "B L"]) -> PerImage:
        r"""Disagreement of classes and labels as a loss: lowered in training, and kept low by an adaptive attacker.

        .. math:: -\ln \sum_c p_c\, e_c \ge 0
        """
        classes = _columns("class_logits", class_logits, self.classes)
        return -(classes.log_softmax(1) + self.evidence(label_logits)).logsumexp(1)

    def violation(self, class_logits: Logits, label_logits: Float[Tensor, "B L"]) -> PerImage:
        r"""Disagreement of classes and labels as a share, the score of a detector that rejects above a threshold.

        .. math:: 1 - \sum_c p_c\, e_c

        It is 0 where the labels fully support the predicted class.
        """
        return violation_of(self.inconsistency(class_logits, label_logits))

    def met(self, states: Tensor) -> States:
        """Which rules states meet, also where a more specific one wins, ``[B, K]``.

        Returns:
            1, 0, or NaN where that depends on unknown states.
        """
        states = self._states(states)
        met, failed = self._holds(self.rules, states), self._holds(map(negated, self.rules), states)
        unknown = states.new_full((), float("nan"))
        return torch.where(met, 1.0, torch.where(failed, 0.0, unknown)).to(states)

    def classify(self, states: Tensor) -> Labels:
        """The one class that states imply, whatever the unknown ones are.

        Returns:
            Class numbers; -1 where there is no such class, or more than one.
        """
        implied = self._holds(self._winning, self._states(states))
        return torch.where(implied.sum(1) == 1, implied.long().argmax(1), UNDECIDED)

    def violated(self, classes: Tensor, states: Tensor) -> Flags:
        """Whether states contradict a class: its rule is not met, or that of a more specific one is.

        Args:
            classes: Class numbers ``[B]``, such as predictions.
            states: States ``[B, L]``.

        Returns:
            A flag per image: where :meth:`violation` is 1 if probabilities are 0 and 1.
        """
        states = self._states(states)
        classes = class_numbers(classes, states)
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < len(self.classes):
            raise ValueError(
                f"classes must be within 0 and {len(self.classes) - 1}, got {int(classes.min())} to "
                f"{int(classes.max())}: rules were bound to {len(self.classes)} classes"
            )
        failed = self._holds(map(negated, self._winning), states)
        return failed.gather(1, classes[:, None])[:, 0]

    def violation_share(self, classes: Tensor, states: Tensor, groups: Tensor | None = None) -> Interval:
        """Share of images that violate the rules, with its interval at 95 %.

        Args:
            classes: Class numbers ``[B]``, such as predictions, of one image at least.
            states: States ``[B, L]``.
            groups: Number of each image's independent unit; by default every image is its own.
        """
        return share_interval(self.violated(classes, states), groups)

    def _states(self, states: Tensor) -> States:
        states = label_states(states, len(states), each_known=False)
        if states.shape[1] != len(self.labels):
            raise ValueError(
                f"states must be those of the {len(self.labels)} labels that rules were bound to, got "
                f"{states.shape[1]}: bind them to the labels of these data"
            )
        return states

    def _holds(self, rules: Iterable[Formula], states: States) -> Tensor:
        known = self._by_leaf(states == 1, states == 0)
        return torch.stack([holds(rule, known) for rule in rules], 1)

    def _by_leaf(self, on: Tensor, off: Tensor) -> Callable[[LabelIs], Tensor]:
        """The column of each label in each state."""
        return {
            LabelIs(label, state): column
            for state, columns in ((True, on), (False, off))
            for label, column in zip(self.labels, columns.unbind(1), strict=True)
        }.__getitem__


def violation_of(inconsistency: PerImage) -> PerImage:
    """The violation of an inconsistency, which rounding may leave below 0."""
    return -torch.expm1(-inconsistency.clamp_min(0))


def _columns(name: str, logits: Tensor, names: tuple[str, ...]) -> Tensor:
    """Logits in single precision at least, one column for each name."""
    if logits.ndim != 2 or logits.shape[1] != len(names):
        raise ValueError(
            f"{name} must be [B, {len(names)}], one for each that rules were bound to, got {list(logits.shape)}: "
            "bind them to the names of these columns"
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
