"""What a training method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perturbsets._types import Classes, PerImage, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.classification import check_logits
from perturbsets.objectives.segmentation import check_maps, pixel_cross_entropy
from perturbsets.training.targets import classes_told

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
