"""Batches and randomness of a training, as functions of the seed and the step's number."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from torchvision.transforms.v2.functional import pil_to_tensor

ROUNDING = 8  # tolerance at the bounds of images, in units in the last place: resizing overshoots by as much

Batch = Any


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2^63) for one use of randomness, named for example ``("fit", 17)``, from the seed of the run.

    It is independent of all others, and the same on every machine and in every process.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Draws:
    """Random draws of one step, counted from 0, in one process, for its rows of a global batch."""

    step: int
    steps: int
    seed: int
    batch: int
    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def done(self) -> float:
        """Share of the steps done, in [0, 1)."""
        return self.step / self.steps

    def normal(self, size: int) -> Tensor:
        """Standard normal draws, ``[B, size]``: this process's rows of the global batch's draws."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "noise", self.step))
        noise = torch.randn(self.batch, size, generator=generator)
        return noise[self.rank :: self.processes].to(self.device)

    def generator(self) -> torch.Generator:
        """A generator for all other draws of this step, different on each process."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "draws", self.step, self.rank))


class Steps(Dataset[Batch]):
    """The batch of each step as a data set, so that a data loader can fetch steps ahead.

    The map-style data have an order of their own in each epoch. The global batch, at most as many images as there are,
    is shared by the processes.
    """

    def __init__(self, data: Any, batch: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.data, self.seed, self.rank, self.processes = data, seed, rank, processes
        self.batch = min(batch, len(data) // processes * processes)
        self._epoch, self._order = -1, torch.zeros(0, dtype=torch.int64)

    def __getitem__(self, step: int) -> Batch:
        epoch, number = divmod(step, len(self.data) // self.batch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            self._epoch, self._order = epoch, torch.randperm(len(self.data), generator=generator)
        rows = self._order[number * self.batch : (number + 1) * self.batch]
        return fetch(self.data, rows[self.rank :: self.processes])


def fetch(data: Any, indices: Tensor) -> Batch:
    """One batch of a data set: by its own ``batch`` method if it has one, else collated from items."""
    if gives_batches(data):
        return data.batch(indices)
    return default_collate(fetch_items(data, indices))


def gives_batches(data: Any) -> bool:
    """Whether a data set has a method ``batch(indices)``; that of Hugging Face data sets takes a ``batch_size``."""
    return hasattr(data, "batch") and "batch_size" not in inspect.signature(data.batch).parameters


def fetch_items(data: Any, indices: Tensor) -> list[Any]:
    """Items of a data set, all in one call if it has PyTorch's ``__getitems__``."""
    items: list[Any] | None = data.__getitems__(indices.tolist()) if hasattr(data, "__getitems__") else None
    return [data[int(index)] for index in indices] if items is None else items


def check_map_style(data: Any, name: str = "data") -> None:
    """Refuses data that are empty, or without a length and an item for each number; says what to write instead."""
    advice = _advice(data, name)
    if advice is not None:
        raise TypeError(
            f"{name} must be a map-style data set, with a length and an item for each number, got a "
            f"{type(data).__name__}: {advice}"
        )
    if not len(data):
        raise ValueError(f"{name} must hold at least one item, got none")


def _advice(data: Any, name: str) -> str | None:
    """What to write instead; None for a map-style data set."""
    if isinstance(data, DataLoader):
        return f"write {name}.dataset, and give its batch size in the settings"
    if isinstance(data, Mapping) and not _all_arrays(list(data.values())):
        return f"write {' or '.join(f'{name}[{key!r}]' for key in data)}"
    if isinstance(data, Mapping | tuple) and _all_arrays(list(data.values() if isinstance(data, Mapping) else data)):
        values = f"{name}.values()" if isinstance(data, Mapping) else name
        return f"write torch.utils.data.TensorDataset(*map(torch.as_tensor, {values})), images first"
    if isinstance(data, IterableDataset) or not (
        hasattr(data, "__len__") and (hasattr(data, "__getitem__") or gives_batches(data))
    ):
        return f"write list({name})" if hasattr(data, "__iter__") else "give it methods __len__ and __getitem__"
    return None


def _all_arrays(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, Tensor | np.ndarray) for value in values)


class Parts(Dataset[tuple[Tensor, ...]]):
    """Batches of a data set as tuples of tensors, images first.

    Items are tuples, or mappings of which ``fields`` are read, in this order; a data set may also give whole batches of
    either kind by ``batch(indices)``. Pillow images, arrays, numbers and lists of numbers become tensors. Other parts
    of a tuple, such as file names, are ignored, and other fields of a mapping, and all parts after the images where
    only images are read.

    Args:
        data: The map-style data set.
        fields: Names of the fields where items are mappings; ``usual`` if not given.
        usual: Names of the parts, images first.
        images: Number of parts that are images.
        bounds: Smallest and largest value of floating-point images; rounding errors beyond them are clamped.
        name: Name of the data set in messages.

    Raises:
        TypeError: If the data set is not map-style.
        ValueError: If it is empty.
    """

    def __init__(
        self,
        data: Any,
        fields: Sequence[str] | None,
        usual: Sequence[str],
        *,
        images: int = 1,
        bounds: tuple[float, float] = (0.0, 1.0),
        name: str = "data",
    ) -> None:
        check_map_style(data, name)
        self.data, self.fields, self.usual = data, fields, usual
        self.images, self.bounds, self.name = images, bounds, name

    def __len__(self) -> int:
        """Number of items."""
        return len(self.data)

    def batch(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The parts of some items, each with a row for every item.

        Raises:
            ValueError: If items do not begin with images or lack a field, parts differ in shape, or images are of
                another type or out of bounds.
        """
        if gives_batches(self.data):
            parts = self._parts(self.data.batch(indices))
        else:
            rows = [self._parts(item) for item in fetch_items(self.data, indices)]
            counts = sorted({len(row) for row in rows})
            if len(counts) > 1:
                raise ValueError(
                    f"{self.name} must give as many numbers in each item, got {counts[0]} and {counts[-1]}: leave out "
                    "items of which a part is None"
                )
            parts = tuple(self._stacked(number, column) for number, column in enumerate(zip(*rows, strict=True)))
        if len(parts) < self.images or any(part.ndim < 2 for part in parts[: self.images]):
            raise ValueError(
                f"{self.name} must give items that begin with {' and '.join(self.usual[: self.images])}, got "
                f"{[list(part.shape[1:]) for part in parts]} as shapes of the numeric parts: put images first, or give "
                "mappings and the names of their fields"
            )
        checked = [within(_with_channel(part), self.bounds, f"images of {self.name}") for part in parts[: self.images]]
        return (*checked, *parts[self.images :])

    def _parts(self, given: Any) -> tuple[Tensor, ...]:
        """The numeric parts of an item or a batch."""
        if isinstance(given, Mapping):
            return tuple(self._named(given, name) for name in self.fields or self.usual)
        if self.fields is not None:
            raise ValueError(
                f"fields must be left out where {self.name} gives no mappings, got fields={tuple(self.fields)} and an "
                f"item that is a {type(given).__name__}"
            )
        parts = given if isinstance(given, tuple | list) else [given]
        most = None if self.images < len(self.usual) else self.images
        return tuple(part for part in map(_tensor, parts) if part is not None)[:most]

    def _named(self, given: Mapping[str, Any], name: str) -> Tensor:
        part = _tensor(given[name]) if name in given else None
        if part is None:
            got = f"{given[name]!r:.40}" if name in given else "no such field"
            raise ValueError(
                f"{self.name} must give an image or numbers as field {name!r}, got {got} beside {list(given)}: "
                + self._advice(given)
            )
        return part

    def _advice(self, given: Mapping[str, Any]) -> str:
        """Which fields to name: those that look like images, then those that are single numbers."""
        numbers = {key: part for key, value in given.items() if (part := _tensor(value)) is not None}
        pictures = [key for key, part in numbers.items() if part.ndim > 1][: self.images]
        others = [key for key, part in numbers.items() if part.ndim < 2]
        names = tuple((pictures + others)[: len(self.usual)])
        if len(names) < len(self.usual):
            return f"give fields that hold {' and '.join(self.usual)}, classes as numbers from 0"
        return f"name the fields to read, for example fields={names}"

    def _stacked(self, number: int, column: Sequence[Tensor]) -> Tensor:
        shapes = sorted({tuple(part.shape) for part in column})
        if len(shapes) > 1:
            raise ValueError(
                f"{self.name} must give parts of one shape, got {list(shapes[0])} and {list(shapes[-1])} as part "
                f'{number} of two items: of images write image.convert("RGB").resize((width, height)) in a transform'
            )
        return torch.stack(list(column))


def _with_channel(images: Tensor) -> Tensor:
    """Images, with a channel dimension added to grey uint8 images ``[B, H, W]``."""
    return images[:, None] if images.dtype == torch.uint8 and images.ndim == 3 else images


def within(images: Tensor, bounds: tuple[float, float], name: str) -> Tensor:
    """Images that are uint8 or floating point within bounds; rounding errors beyond them are clamped.

    NaN passes: training reports it with the step at which the loss becomes NaN.
    """
    if images.dtype == torch.uint8 or not images.numel():
        return images
    low, high = bounds
    expected = f"{name} must be torch.uint8, or floating point within [{low:g}, {high:g}]"
    if not images.is_floating_point():
        advice = "image.to(torch.uint8) where 255" if int(images.max()) < 256 else "image / 65535 where 65535"
        raise ValueError(f"{expected}, got {images.dtype}: write {advice} is white")
    smallest, largest = (float(bound) for bound in torch.aminmax(images.detach()))
    farthest = max((abs(bound) for bound in bounds if math.isfinite(bound)), default=0.0)
    slack = ROUNDING * torch.finfo(images.dtype).eps * farthest
    if smallest < low - slack or largest > high + slack:
        advice = "move a normalisation from the data into the model, which takes images in [0, 1]"
        if smallest >= 0 and 2 < largest <= 255:
            advice = "write image / 255 where 255 is white"
        raise ValueError(f"{expected}, got {smallest:.8g} to {largest:.8g}: {advice}")
    return images.clamp(low, high) if smallest < low or largest > high else images


def _tensor(part: Any) -> Tensor | None:
    """A part of an item as a tensor, ``None`` if it is not numeric; refuses other modes, and channels last."""
    if isinstance(part, Image.Image):
        if part.mode not in ("L", "RGB"):
            advice = {
                "I": "torch.from_numpy(numpy.array(image) / 65535).float()[None]",
                "F": "torch.from_numpy(numpy.array(image))[None], divided by the value of white,",
            }.get(part.mode[0], 'image.convert("RGB")')
            raise ValueError(f'images must have mode "L" or "RGB", got {part.mode!r}: write {advice} in a transform')
        return pil_to_tensor(part)
    if isinstance(part, np.ndarray) and part.dtype == np.uint8 and part.ndim == 3:
        first, *_, last = part.shape
        if last in (1, 3) and first not in (1, 3):
            raise ValueError(
                f"images must have channels first, got an array {list(part.shape)}: write "
                "torch.tensor(image).permute(2, 0, 1) in a transform"
            )
    try:
        if isinstance(part, np.ndarray):
            part = part.copy()  # tensors have no negative strides
        return part if isinstance(part, Tensor) else torch.tensor(part)  # a copy: arrays may be read-only
    except (TypeError, ValueError, RuntimeError):
        return None
