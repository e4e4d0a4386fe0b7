"""The batches of a training run and its randomness, as functions of the seed and the step's number."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from cvae.seeds import derive_seed

Batch = Any


@dataclass(frozen=True)
class Draws:
    """The randomness of one step, as seen by one process.

    Args:
        step: Number of the step, from 0.
        steps: Number of all steps.
        seed: Seed of the run.
        batch: Images in the global batch.
        rank: Number of this process.
        processes: How many processes there are.
        device: Where draws shall lie.
    """

    step: int
    steps: int
    seed: int
    batch: int
    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def done(self) -> float:
        """Share of the steps that lies behind, in [0, 1)."""
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
    """The batch of each step, so that a data loader can fetch steps ahead.

    Args:
        data: A map-style data set; every epoch visits it in another order.
        batch: Images in the global batch, cut to what the data set holds.
        seed: Seed of the orders.
        rank: Number of this process.
        processes: How many processes there are.
    """

    def __init__(self, data: Any, batch: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.data, self.seed, self.rank, self.processes = data, seed, rank, processes
        self.batch = min(batch, len(data) // processes * processes)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        return torch.randperm(len(self.data), generator=generator)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self.data) // self.batch)
        rows = self._order(epoch)[place * self.batch : (place + 1) * self.batch]
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
    """Items of a data set, all in one call where it has PyTorch's ``__getitems__``."""
    if hasattr(data, "__getitems__"):
        items: list[Any] = data.__getitems__(indices.tolist())
        return items
    return [data[int(index)] for index in indices]


def check_map_style(data: Any, name: str = "data") -> None:
    """Refuses what has no items that are told apart by their numbers.

    Raises:
        TypeError: If it is no map-style data set; the message says what to write.
        ValueError: If it is empty.
    """
    advice = _advice(data, name)
    if advice is not None:
        raise TypeError(
            f"{name} must be a map-style data set, with a length and an item to each number, got a "
            f"{type(data).__name__}: {advice}"
        )
    if not len(data):
        raise ValueError(f"{name} must hold at least one item, got none")


def _advice(data: Any, name: str) -> str | None:
    """What to write instead, if this is no map-style data set."""
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
