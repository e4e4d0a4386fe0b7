"""Scheme S2: a classifier on images that fool itself, and on those that fool a multi-label classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from perturbsets._types import Samples
from perturbsets.adversary import Adversary, Found
from perturbsets.fingerprint import digest
from perturbsets.training.multi_label.helped import Example, HelpedByLabels, check_share
from perturbsets.training.targets import DualTargets
from perturbsets.worst import Worst

Combination = Literal["two", "added"]


@dataclass(frozen=True)
class DualS2(HelpedByLabels):
    r"""Cross-entropy on the classifier's and the helper's adversarial images, or on one image that is both.

    .. math:: \text{two:} \quad (1 - \lambda)\, \ell(f_\theta(x'_\theta), y) + \lambda\, \ell(f_\theta(x'_\omega), y),
        \qquad x'_\theta = \arg \max_{x' \in S(x)} \ell(f_\theta(x'), y)

    .. math:: \text{added:} \quad \ell\big(f_\theta(g(x, u)), y\big), \qquad u = \Pi_B(u_\theta + u_\omega)

    with :math:`u_\theta, u_\omega` where the two adversaries ended in their one set, and g what the set makes of
    offsets. That is the projected sum of two offsets, not the step along the sum of two gradients. For the helper, the
    rules and their arguments see :class:`HelpedByLabels`. Accuracy in the records is that on the classifier's own
    adversarial images, or on the image that is both.

    Args:
        adversary: The search for :math:`x'_\theta`, with an objective of classes.
        weight: :math:`\lambda`, in [0, 1], of ``"two"``; ``"added"`` has none.
        combine: ``"two"`` examples, or the two offsets ``"added"``.

    Raises:
        ValueError: If the weight is outside of its range, the adversaries of ``"added"`` have not one set, or as
            :class:`HelpedByLabels`.

    Example:
        >>> from perturbsets import BinaryCrossEntropy, CrossEntropy, OneStep, PixelBall
        >>> ball, step = PixelBall("linf", 0.1), OneStep(or_stay=False)
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
            sets = [getattr(each, "perturbations", None) for each in (self.helper_adversary, self.adversary)]
            if None in sets or digest(sets[0]) != digest(sets[1]):
                raise ValueError(
                    f'combine="added" must add offsets of one set, got {sets[0]} and {sets[1]}: give both adversaries '
                    'the same set, or combine="two"'
                )

    def examples(
        self, bare: nn.Module, images: Samples, labels: DualTargets, generator: torch.Generator
    ) -> list[Example]:
        fooling = self._fool_helper(bare, images, labels, generator)
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
        assert isinstance(own, Found)
        region = self.adversary.perturbations.at(images)
        with torch.no_grad():
            both = region.decode(region.project(fooling.offsets + own.offsets))
        return [clean, Example(fooling.images, 0.0, own_lesson), Example(both, 1.0)]
