"""Images and labels in whatever form they come: tensors, a data set, or a data loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import to_dtype

from cvae.batches import Parts
from perturbsets._types import Model
from perturbsets.model_call import roots

USUAL = ("image", "label")
CHUNK = 256  # items of a data set that are read at a time


def whole(
    model: Model | None, images: Any, labels: Any, fields: Sequence[str] | None = None, groups: Tensor | None = None
) -> tuple[Any, Any, Tensor | None]:
    """Images, labels and groups of all data; images and labels that were given apart come back as they are.

    Images of a data set or data loader become floating point in [0, 1], on the device of the model. Groups of a source
    of :mod:`augment` are its own, unless others are given.

    Args:
        model: The model, for its device.
        images: Images; or a map-style data set, or a data loader, of images and labels.
        labels: Labels; ``None`` where they come with the images.
        fields: Names of image and label where items are mappings.
        groups: Number of each image's independent unit.

    Raises:
        TypeError: If the data are no map-style data set.
        ValueError: If the data are empty, or items are not images in [0, 1] and labels.
    """
    if labels is not None or isinstance(images, Tensor):
        return images, labels, groups
    batches = list(_batches(images, fields))
    if not batches:
        raise ValueError("images must hold at least one batch, got an empty data loader")
    if any(len(batch) < 2 for batch in batches):
        raise ValueError("images must come with labels, got a data set of images alone: give labels too")
    pictures, classes = (torch.cat(parts) for parts in list(zip(*batches, strict=False))[:2])
    if pictures.dtype == torch.uint8:
        pictures = to_dtype(pictures, torch.float32, scale=True)
    device = next((each.device for root in roots(model) for each in root.parameters()), pictures.device)
    own = getattr(images, "groups", None)
    if groups is None and own is not None:
        groups = torch.as_tensor(own)
    return pictures.to(device), classes.to(device), groups


@dataclass(frozen=True)
class _Batch:
    """A batch of a data loader as a data set that gives it."""

    given: Any

    def __len__(self) -> int:
        return 1

    def batch(self, indices: Tensor) -> Any:
        return self.given


def _batches(data: Any, fields: Sequence[str] | None) -> Iterator[tuple[Tensor, ...]]:
    if isinstance(data, DataLoader):
        for given in data:
            yield Parts(_Batch(given), fields, USUAL, name="images").batch(torch.zeros(1, dtype=torch.long))
    else:
        parts = Parts(data, fields, USUAL, name="images")
        for rows in torch.arange(len(parts)).split(CHUNK):
            yield parts.batch(rows)
