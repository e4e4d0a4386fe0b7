"""What a batch tells of its images: classes, states of labels, or both; and how much of it a model has right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from perturbsets._types import Classes, Labels, States
from perturbsets.label_states import label_states
from perturbsets.objectives.segmentation import right


class DualTargets(NamedTuple):
    """Class and states of labels of each image, for methods that train with both.

    Attributes:
        classes: Class numbers ``[B]``.
        states: States ``[B, L]``: 1 on, 0 off, NaN unknown.
    """

    classes: Labels
    states: States


Targets = Classes | States | DualTargets


def classes_told(told: Sequence[Tensor]) -> Classes:
    """The classes, or label maps, that a batch tells first; classes ``[B, 1]`` as ``[B]``.

    Args:
        told: What stands behind the images of a batch.

    Raises:
        ValueError: If there is nothing, or numbers that are not whole come first.
    """
    if not told:
        raise ValueError(
            "data must give (image, class number) for this method, got no number beside the image: give classes as "
            "numbers from 0, for example names.index(name)"
        )
    first = told[0]
    if first.is_floating_point():
        raise ValueError(
            f"data must give (image, class number) for this method, got {list(first.shape)} of {first.dtype}: "
            "states of labels are for MultiLabel, both for the Dual methods"
        )
    return (first[:, 0] if first.shape[1:] == (1,) else first).long()


def states_told(told: Sequence[Tensor]) -> States:
    """The states of labels that a batch tells last.

    Raises:
        ValueError: If there are none, they are no states, or none of an image is known.
    """
    if not told:
        raise ValueError("data must give (image, states of labels) for this method, got no number beside the image")
    return label_states(told[-1], len(told[-1]))


def both_told(told: Sequence[Tensor]) -> DualTargets:
    """Classes and states that a batch tells.

    Raises:
        ValueError: If it tells not just these two.
    """
    if len(told) != 2:
        raise ValueError(
            f"data must give (image, class number, states of labels) for this method, got {len(told) + 1} parts: "
            'of mappings, name all three, such as fields=("image", "label", "states")'
        )
    return DualTargets(classes_told(told), states_told(told))


def accuracy(logits: Tensor, targets: Targets) -> Tensor:
    """Share of what a batch tells that a model has right, a single number.

    Args:
        logits: What the model says.
        targets: Classes: each image counts. Label maps: each image by its share of right pixels. States: each known
            one; a label is on where its logit is above 0. Both kinds: the classes count.
    """
    if isinstance(targets, DualTargets):
        return accuracy(logits, targets.classes)
    if targets.is_floating_point():
        return ((logits > 0) == (targets == 1))[~targets.isnan()].float().mean()
    return right(logits.argmax(1), targets).float().mean()
