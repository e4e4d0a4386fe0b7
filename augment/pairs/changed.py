"""Pairs of images from sources and changed versions of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment._types import Images, Labels, Parameters
from augment.change import Change
from augment.images import ImageError
from augment.pairs.plan import Fault, Made, PairPlan, stacked, starts
from augment.provenance import described
from augment.sources.source import Source, group_numbers


@dataclass(frozen=True, eq=False)
class ChangedPairs:
    """Pairs each image of each split with changed versions of itself.

    The parameters of a split are drawn from the seed and the split's name, so that adding a split does not change
    others. Images of one group of a source, such as crops of one photograph, are one source of pairs (see
    :class:`augment.Pair`), which is in one split. A change may have names of `conditions` and, if they are several, a
    method `condition` that numbers the condition of each row of parameters; otherwise the only condition is the name of
    its class. If the `state` of a source has changed, an interrupted writing starts anew.

    Args:
        sources: Clean images by name of the split; splits must not share images.
        change: The change; or one for each split, for conditions that only one split has.
        draws: Changed versions of each image; a number, or one per split.
        seed: Seed of the parameters, 0 or more.

    Raises:
        TypeError: If `change` is no :class:`augment.Change`.
        ValueError: If there is no split, a number is out of range, a split has no images or no change, or splits
            share images or, once pairs are planned, groups.

    Example:
        >>> from augment import Digits, SpatialChange
        >>> pairs = ChangedPairs({"test": Digits("test")}, SpatialChange(), draws=2)
        >>> len(pairs.plan().source)
        600
    """

    sources: Mapping[str, Source]
    change: Change | Mapping[str, Change]
    _: KW_ONLY
    draws: int | Mapping[str, int] = 1
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {name: self._draws(name) for name in self.sources}
        if not self.sources or min(counts.values()) < 1 or self.seed < 0:
            raise ValueError(
                "sources must hold at least one split, draws be at least 1 and seed 0 or more, got "
                f"draws={counts}, seed={self.seed}"
            )
        if isinstance(self.change, Mapping) and set(self.change) != set(self.sources):
            raise ValueError(
                f"change must name the splits of sources, {sorted(self.sources)}, got {sorted(self.change)}"
            )
        for split in self.sources:
            _check_change(self._change(split))
        seen: dict[tuple[str, int], str] = {}
        for split, source in self.sources.items():
            if not len(source):
                raise ValueError(f"sources must hold images in every split, got none in {split!r}")
            for index in source.indices.tolist():
                if (other := seen.setdefault((source.name, index), split)) != split:
                    raise ValueError(
                        f"sources must not share images, got {source.name} {index} in {other!r} and {split!r}"
                    )

    def _draws(self, split: str) -> int:
        return self.draws if isinstance(self.draws, int) else self.draws.get(split, 0)

    def _change(self, split: str) -> Change:
        return self.change[split] if isinstance(self.change, Mapping) else self.change

    @cached_property
    def _parameters(self) -> dict[str, Parameters]:
        drawn = {}
        for split, source in self.sources.items():
            digest = hashlib.sha256(f"{self.seed}/{split}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            drawn[split] = self._change(split).draw(len(source) * self._draws(split), generator=generator)
        return drawn

    @cached_property
    def _plan(self) -> PairPlan:
        changes = {split: self._change(split) for split in self.sources}
        columns = list(dict.fromkeys(name for change in changes.values() for name in change.parameter_names))
        names = {split: getattr(change, "conditions", (type(change).__name__,)) for split, change in changes.items()}
        conditions = list(dict.fromkeys(name for own in names.values() for name in own))
        draws = np.repeat([self._draws(name) for name in self.sources], [len(s) for s in self.sources.values()])
        parameters, condition = [], []
        for split, change in changes.items():
            drawn = self._parameters[split]
            wide = np.zeros((len(drawn), len(columns)), dtype=np.float32)  # 0 where a change has no such column
            wide[:, [columns.index(name) for name in change.parameter_names]] = drawn.float().numpy()
            parameters.append(wide)
            numbers = np.array([conditions.index(name) for name in names[split]], dtype=np.int64)
            own = change.condition(drawn) if hasattr(change, "condition") else np.zeros(len(drawn), dtype=np.int64)
            condition.append(numbers[np.asarray(own, dtype=np.int64)])
        images = len(draws)
        return PairPlan(
            splits=tuple(self.sources),
            conditions=tuple(conditions),
            parameter_names=tuple(columns),
            origin=np.concatenate([np.asarray(source.indices, dtype=np.int64) for source in self.sources.values()]),
            split=np.repeat(np.arange(len(self.sources)), [len(source) for source in self.sources.values()]),
            group=self._groups(),
            source=np.repeat(np.arange(images), draws),
            target=np.arange(draws.sum()),
            condition=np.concatenate(condition),
            parameters=np.concatenate(parameters),
            clean_starts=np.arange(images + 1),
            changed_starts=starts(draws),
            state=" ".join(str(getattr(source, "state", "")) for source in self.sources.values()).strip(),
        )

    def _groups(self) -> np.ndarray:
        """Number of each image's group, from 0 on in order of appearance."""
        numbers: dict[tuple[str, int], int] = {}
        return np.array(
            [
                numbers.setdefault((source.name, group), len(numbers))
                for source in self.sources.values()
                for group in group_numbers(source).tolist()
            ],
            dtype=np.int64,
        )

    def plan(self) -> PairPlan:
        """One pair per draw, split by split."""
        return self._plan

    def make(self, units: range, *, device: torch.device | str = "cpu") -> Made:
        """Reads the images and applies the change, a batch per split."""
        cleans, labels, changed, rows = [], [], [], []
        faults: list[Fault] = []
        first = 0
        for split, source in self.sources.items():
            inside = range(max(units.start - first, 0), min(units.stop - first, len(source)))
            for positions, images, classes in _read(source, inside, first, faults):
                cleans.append(images)
                labels.append(classes)
                rows.append(positions + first)
                changed.append(self._changed(split, images, positions, device))
            first += len(source)
        if not cleans:
            return Made(*stacked({}), np.zeros(0, dtype=np.int64), *stacked({}), tuple(faults))
        if len({tuple(part.shape[1:]) for part in cleans}) > 1:
            raise ValueError(
                f"sources must give images of one shape, got {sorted({tuple(part.shape[1:]) for part in cleans})}"
            )
        clean_rows = np.concatenate(rows)
        begin = self._plan.changed_starts
        assert begin is not None
        changed_rows = np.concatenate([np.arange(begin[row], begin[row + 1]) for row in clean_rows])
        return Made(
            torch.cat(cleans).float(),
            clean_rows,
            torch.cat(labels).numpy().astype(np.int64),
            torch.cat(changed).float(),
            changed_rows,
            tuple(faults),
        )

    def _changed(self, split: str, images: Images, positions: np.ndarray, device: torch.device | str) -> Tensor:
        draws = self._draws(split)
        parameters = self._parameters[split].unflatten(0, (-1, draws))[positions].flatten(0, 1)
        repeated = images.to(device).repeat_interleave(draws, 0)
        return self._change(split).apply(repeated, parameters.to(device)).cpu()

    def describe(self) -> dict[str, Any]:
        """The source without its split, the change, the draws and the seed."""
        return {
            "source": described(next(iter(self.sources.values())), without="split"),
            "change": described(self.change),
            "draws": {name: self._draws(name) for name in self.sources},
            "seed": self.seed,
        }


def _read(source: Source, positions: range, first: int, faults: list[Fault]) -> list[tuple[np.ndarray, Images, Labels]]:
    """Positions, images and labels of a source as one batch; image by image if one of them cannot be read."""
    if not len(positions):
        return []
    try:
        return [(np.asarray(positions), *source.batch(list(positions)))]
    except ImageError as error:
        if len(positions) == 1:
            faults.append(Fault("clean", first + positions[0], str(error)))
            return []
    singles = (range(position, position + 1) for position in positions)
    return [part for single in singles for part in _read(source, single, first, faults)]


def _check_change(change: object) -> None:
    """Refuses other objects than changes."""
    if isinstance(change, type):
        raise TypeError(f"change must be an object, got the class {change.__name__}: give {change.__name__}(...)")
    if not isinstance(change, Change):
        raise TypeError(
            "change must have parameter_names, draw(count, generator=...) and apply(images, parameters), got "
            f"{type(change).__name__}: wrap it: TorchvisionChange(...), or AlbumentationsChange(...)"
        )
