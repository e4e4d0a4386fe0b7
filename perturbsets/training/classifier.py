"""Training a classifier with any method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_dtype

from cvae import Draws, LoopSettings, train
from cvae.batches import Parts
from cvae.progress import Record
from cvae.training import Schedule
from perturbsets.fingerprint import digest
from perturbsets.training.method import Method, accuracy
from perturbsets.training.validation import RobustValidation


def train_classifier(
    model: nn.Module,
    data: Any,
    method: Method,
    settings: LoopSettings,
    *,
    fields: Sequence[str] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    validation: RobustValidation | None = None,
    schedule: Schedule | None = None,
    folder: Path | str | None = None,
    accelerator: Accelerator | None = None,
    title: str = "train",
    progress: bool = False,
) -> list[Record]:
    """Trains a classifier in place; it ends in evaluation mode.

    Args:
        model: Images in [0, 1] to logits.
        data: Map-style data of (image, class number), or of (image, label map) for a model of logits per pixel. For
            :class:`MultiLabelTraining` of (image, states of labels); for methods that train with both of (image, class
            number, states), of which other methods take their part. Images are uint8 or float, of Pillow, arrays or
            tensors; classes may also be ``[1]`` per image. Parts of a tuple that are no numbers, such as file names,
            are left out. Of mappings, such as the rows of a Hugging Face data set, ``fields`` are read.
        method: What the classifier is shown, and how that is judged.
        settings: Steps, batch size, learning rate and the like.
        fields: Names of image, and class or states, in the order above, where items are mappings;
            ``("image", "label")`` if not given.
        bounds: Smallest and largest value of float images; what rounding left outside is clamped.
        validation: Selects the weights with the best robust accuracy, and ends a training whose robust accuracy falls.
            Without it the last weights are kept.
        schedule: From an optimizer to its ``torch.optim.lr_scheduler``, instead of the settings' rise and fall.
        folder: Where checkpoint and metrics go; a killed training continues from there to the same weights.
        accelerator: From Hugging Face accelerate; made from the settings if not given.
        title: Label of the progress bar.
        progress: Whether to show one.

    Returns:
        The records logged: loss and accuracy on what the classifier was shown; robust and clean accuracy where there
        is a validation.

    Raises:
        TypeError: If the data are no map-style data set, or as :func:`cvae.train`.
        ValueError: If images, labels or logits are not as they must be, or as :func:`cvae.train`.
        FloatingPointError: If the loss becomes NaN.
    """

    def loss(wrapped: nn.Module, batch: Any, draws: Draws) -> Iterator[Mapping[str, Tensor]]:
        images, labels = to_dtype(batch[0], torch.float32, scale=True), method.targets(batch[1:])
        for losses, logits in method(wrapped, model, images, labels, draws.generator()):
            yield {"loss": losses.mean(), "accuracy": accuracy(logits.detach(), labels)}

    words = [type(model).__name__, type(method).__name__, digest(method)]
    if validation is not None:
        words.append(f"validation={digest(validation)}")
    return train(
        model,
        loss,
        Parts(data, fields, ("image", "label"), bounds=bounds),
        settings,
        validate=validation,
        stop=None if validation is None else validation.fallen,
        schedule=schedule,
        folder=folder,
        fingerprint=" ".join(words),
        accelerator=accelerator,
        title=title,
        progress=progress,
    )
