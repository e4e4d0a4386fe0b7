"""Plans of pairs: rows, splits, groups, conditions and parameters, before any image is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from augment.store.hdf5_layout import CLEAN_ROWS, PAIR_ROWS, index_fault

Pixels = Float32[Tensor, "_ C H W"] | UInt8[Tensor, "_ C H W"]
Numbers = Int64[np.ndarray, " _"]


class Fault(NamedTuple):
    """An image that could not be read: its table, its row there, and why, naming the file."""

    table: Literal["clean", "changed"]
    row: int
    reason: str


@dataclass(frozen=True, eq=False)
class Made:
    """Images of some units: those that could be read, ``uint8`` or float in [0, 1], and why the others could not.

    Rows are in ascending order; labels are classes, -1 where there is none.
    """

    clean: Pixels | None
    clean_rows: Numbers
    labels: Numbers
    changed: Pixels | None
    changed_rows: Numbers
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, eq=False)
class PairPlan:
    """The pairs that a source will make.

    They are made in *units*: unit u makes the clean rows ``clean_starts[u]`` to ``clean_starts[u + 1] - 1`` and the
    changed rows likewise. A pair whose clean or changed image cannot be read is left out.

    Args:
        splits: Names of the splits.
        conditions: Names of the conditions.
        parameter_names: Names of the columns of `parameters`.
        origin: Per clean row: its index in the data it comes from.
        split: Per clean row: number of its split.
        group: Per clean row: number of the independent unit (the image itself, or its photograph, scene or person).
        source: Per pair: the clean row.
        target: Per pair: the changed row.
        condition: Per pair: number of its condition.
        parameters: Per pair: parameters of the change.
        clean_starts: Per unit its first clean row, and the number of clean rows at the end.
        changed_starts: Likewise for changed rows; None if changed images are rows of the clean table.
        state: Text that changes when the data are replaced, such as a hash of the times of files.

    Raises:
        ValueError: If there are no pairs, lengths or numbers do not fit, or a group is in two splits.
    """

    splits: tuple[str, ...]
    conditions: tuple[str, ...]
    parameter_names: tuple[str, ...]
    origin: Numbers
    split: Numbers
    group: Numbers
    source: Numbers
    target: Numbers
    condition: Numbers
    parameters: Float32[np.ndarray, "_ _"]
    clean_starts: Numbers
    changed_starts: Numbers | None
    state: str = ""

    def __post_init__(self) -> None:
        if not len(self.source):
            raise ValueError("pairs must hold at least one pair, got none")
        if len(self.parameter_names) != self.parameters.shape[1]:
            raise ValueError(
                f"parameter_names must name {self.parameters.shape[1]} columns in a plan, got {self.parameter_names}"
            )
        tables = {name: getattr(self, name) for name in (*CLEAN_ROWS, *PAIR_ROWS) if name != "label"}
        targets = self.clean_rows if self.changed_starts is None else self.changed_rows
        fault = index_fault(tables, self.clean_rows, targets, len(self.splits), len(self.conditions))
        if fault is not None:
            raise ValueError(f"{fault} in a plan")
        order = np.lexsort((self.split, self.group))
        group, split = self.group[order], self.split[order]
        divided = np.flatnonzero((np.diff(group) == 0) & (np.diff(split) != 0))
        if len(divided):
            names = [self.splits[split[divided[0] + step]] for step in (0, 1)]
            raise ValueError(
                f"splits must not share groups, got group {group[divided[0]]} in {names[0]!r} and {names[1]!r}: pairs "
                "of one group are not independent. Put whole groups into a split: Portion(source, 0, step=2, "
                "whole_groups=True)"
            )

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.clean_starts) - 1

    @property
    def clean_rows(self) -> int:
        """Rows of the clean table."""
        return int(self.clean_starts[-1])

    @property
    def changed_rows(self) -> int:
        """Rows of the changed table; 0 if it is the clean one."""
        return 0 if self.changed_starts is None else int(self.changed_starts[-1])

    def images_until(self) -> Numbers:
        """Per unit the images that all units before it make, and all of them at the end."""
        return self.clean_starts if self.changed_starts is None else self.clean_starts + self.changed_starts

    def digest(self) -> str:
        """A hash of the plan."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                digest.update(f"{field.name} {value.dtype.str} {value.shape} ".encode())
                digest.update(np.ascontiguousarray(value).data)
            else:
                digest.update(f"{field.name} {value!r} ".encode())
        return digest.hexdigest()


def starts(counts: Numbers) -> Numbers:
    """First row of each unit from the number of rows of each, with the sum at the end."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def stacked(images: dict[int, Tensor]) -> tuple[Tensor | None, Numbers]:
    """Images by row as one tensor, None if there are none, and their rows."""
    return torch.stack(list(images.values())) if images else None, np.array(list(images), dtype=np.int64)


@runtime_checkable
class PairSource(Protocol):
    """A source of pairs for :func:`augment.write_pairs`: a plan, and images made unit by unit.

    Units can be made in any order and in any process, and again after a kill. For several processes the source is
    pickled.
    """

    def plan(self) -> PairPlan:
        """The pairs; reads no pixels, and is the same at each call."""

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """The images of some units; each unit's are the same in any range.

        Raises:
            ValueError: If pairs are wrong as a whole; single images that cannot be read are reported as faults.
        """

    def describe(self) -> dict[str, Any]:
        """The source and its settings as plain values, which the file records."""
