"""What a training method is, and what it takes from a batch."""

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
from perturbsets.printing import Printed

Classifier = Callable[[Samples], Tensor]
Update = tuple[PerImage, Tensor]


class DualTargets(NamedTuple):
    """Class and states of labels of each image, for methods that train with both."""

    classes: Labels
    states: States


Targets = Classes | States | DualTargets


def batch_classes(given: Sequence[Tensor]) -> Classes:
    """The classes, or label maps, of a batch: the first tensor after the images; classes ``[B, 1]`` as ``[B]``.

    Raises:
        ValueError: If there is none, or it does not hold whole numbers.
    """
    if not given:
        raise ValueError(
            "data must give (image, class number) for this method, got no number with the image: give classes as "
            "numbers from 0, for example names.index(name)"
        )
    first = given[0]
    if first.is_floating_point():
        raise ValueError(
            f"data must give (image, class number) for this method, got {list(first.shape)} of {first.dtype}: "
            "MultiLabelTraining takes states of labels, DualS1 and DualS2 take both"
        )
    return (first[:, 0] if first.shape[1:] == (1,) else first).long()


def batch_states(given: Sequence[Tensor]) -> States:
    """The states of labels of a batch: its last tensor.

    Raises:
        ValueError: If there is none, it does not hold states, or none of an image is known.
    """
    if not given:
        raise ValueError("data must give (image, states of labels) for this method, got no number with the image")
    return label_states(given[-1], len(given[-1]))


def batch_classes_and_states(given: Sequence[Tensor]) -> DualTargets:
    """Classes and states of labels of a batch.

    Raises:
        ValueError: If the batch does not hold just these two.
    """
    if len(given) != 2:
        raise ValueError(
            f"data must give (image, class number, states of labels) for this method, got {len(given) + 1} parts: "
            'of mappings, name all three, such as fields=("image", "label", "states")'
        )
    return DualTargets(batch_classes(given), batch_states(given))


def accuracy(logits: Tensor, targets: Targets) -> Tensor:
    """Share of the targets that a model predicts correctly, a single number.

    Of label maps each image counts by its share of right pixels; of states each known one, a label being on where its
    logit is above 0; of both kinds the classes.
    """
    if isinstance(targets, DualTargets):
        return accuracy(logits, targets.classes)
    if targets.is_floating_point():
        return ((logits > 0) == (targets == 1))[~targets.isnan()].float().mean()
    return right(logits.argmax(1), targets).float().mean()


class Method(Printed, ABC):
    """A way to train; one frozen dataclass each."""

    @abstractmethod
    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator
    ) -> Iterator[Update]:
        """Yields the loss of each image, and the logits it comes from, once for each optimizer step on the batch.

        After a yield that step is done: the weights are new and their gradients are gone.

        Args:
            model: The model to train, perhaps wrapped for several processes: its passes share gradients, so there
                is one before each yield.
            bare: The same model without wrapper, for passes that must not.
            images: Clean images.
            labels: What :meth:`targets` returned.
            generator: For all draws.
        """

    def targets(self, given: Sequence[Tensor]) -> Any:
        """What the method takes of a batch's tensors after its images: classes or label maps, unless overridden.

        Raises:
            ValueError: If the batch does not hold it.
        """
        return batch_classes(given)


class OneUpdate(Method):
    """A method that takes one optimizer step a batch: it prepares the inputs, then computes their loss.

    The first part leaves the model as it was; the second is a pure function, so that methods built on this one can
    call it again at other weights or with more images in the pass.
    """

    def __call__(
        self, model: nn.Module, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator
    ) -> Iterator[Update]:
        prepared = self.prepare(bare, images, labels, generator)
        yield self.losses(model, images, prepared, labels)

    @abstractmethod
    def prepare(self, bare: nn.Module, images: Samples, labels: Any, generator: torch.Generator) -> Any:
        """What :meth:`losses` trains the classifier on, mostly samples; its gradients and statistics stay as they were.

        Arguments are those of the call.
        """

    def losses(self, model: Classifier, images: Samples, prepared: Any, labels: Any) -> Update:
        """Loss of each image and the logits it comes from; cross-entropy on what was prepared, unless overridden.

        The model is to be called once, with all samples: wrappers for several processes and running statistics count
        passes.
        """
        return cross_entropy(model, prepared, labels)


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


def paired_forward(model: Classifier, clean: Samples, changed: Samples, labels: Labels) -> tuple[Logits, Logits]:
    """Logits of clean images, and of the same ones changed, from one pass over both.

    Wrappers for several processes allow one pass before a backward pass, and a normalisation over the batch then sees
    both kinds at once.

    Raises:
        ValueError: If labels or logits are not as they must be.
    """
    logits = class_logits(model, torch.cat([clean, changed]))
    check_logits(logits, labels.repeat(2))
    return logits[: len(clean)], logits[len(clean) :]
