"""What a training method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perturbsets._types import Classes, Labels, Logits, PerImage, Samples, States
from perturbsets.label_states import label_states
from perturbsets.model_call import class_logits
from perturbsets.objectives.classification import check_logits
from perturbsets.objectives.segmentation import check_maps, pixel_cross_entropy, right

# What a batch tells of its images: classes, states of labels, or both; and how much of it a model has right.


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


Classifier = Callable[[Samples], Tensor]
Update = tuple[PerImage, Tensor]


class Method(ABC):
    """A way to train; one frozen dataclass each."""

    @abstractmethod
    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator
    ) -> Iterator[Update]:
        """Yields the loss of each image, and the logits it comes from, once for each optimizer step on the batch.

        When it goes on after a yield, that step is done: the weights are new and their gradients are gone.

        Args:
            model: The model to train, perhaps wrapped for several processes: its passes share gradients, so there
                is one before each yield.
            bare: The same model without wrapper, for passes that must not.
            images: Clean images.
            labels: What :meth:`targets` chose: classes or label maps, or what else the method needs.
            generator: For everything drawn.
        """

    def targets(self, told: Sequence[Tensor]) -> Any:
        """Chooses what the method needs of all that a batch tells of its images.

        Args:
            told: What stands behind the images in a batch.

        Returns:
            Classes or label maps, unless a method says otherwise.

        Raises:
            ValueError: If the batch tells something else.
        """
        return classes_told(told)


class OneUpdate(Method):
    """A method that takes one optimizer step a batch, in two parts that add-ons can take apart.

    First it finds what the classifier is shown, then it judges that. The first part leaves the model as it found it;
    the second is a pure function, so that it can be asked again at other weights or with other images beside.
    """

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator
    ) -> Iterator[Update]:
        shown = self.shown(bare, images, labels, generator)
        yield self.losses(model, images, shown, labels)

    @abstractmethod
    def shown(self, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator) -> Any:
        """Finds what the classifier is shown, without a trace in its gradients and statistics.

        Args:
            bare: The classifier without wrapper.
            images: Clean images.
            labels: Their classes or label maps, or what else the method needs.
            generator: For everything drawn.

        Returns:
            Samples, or what else :meth:`losses` of the same method takes.
        """

    def losses(self, model: Classifier, images: Samples, shown: Any, labels: Any) -> Update:
        """Loss of each image and the logits of what was shown; cross-entropy unless a method says otherwise.

        Args:
            model: From samples to logits; to be called once, with all samples, since wrappers for several processes
                and running statistics count passes.
            images: Clean images.
            shown: What :meth:`shown` found.
            labels: Classes or label maps of the images, or what else the method needs.
        """
        return cross_entropy(model, shown, labels)


def cross_entropy(model: Classifier, images: Samples, labels: Classes) -> Update:
    """Cross-entropy of each image, or its mean over the pixels of each label map; and the logits.

    Raises:
        ValueError: If labels or logits are not as they must be.
    """
    logits = class_logits(model, images)
    if logits.ndim > 2:
        check_maps(logits, labels)
        return pixel_cross_entropy(logits, labels), logits
    check_logits(logits, labels)
    return F.cross_entropy(logits, labels, reduction="none"), logits


# Clean and changed images in one pass.


def together(model: Classifier, clean: Samples, changed: Samples, labels: Labels) -> tuple[Logits, Logits]:
    """Logits of the clean images and of the changed ones, from one pass over all of them.

    One pass is all that wrappers for several processes allow before a backward pass, and a normalisation over the
    batch then sees both kinds at once.

    Args:
        model: From samples to logits.
        clean: Clean images.
        changed: The same images, changed.
        labels: Their classes.

    Raises:
        ValueError: If labels or logits are not as they must be.
    """
    logits = class_logits(model, torch.cat([clean, changed]))
    check_logits(logits, labels.repeat(2))
    return logits[: len(clean)], logits[len(clean) :]
