"""Making pairs of images and writing them to HDF5, whole or not at all; a killed writing continues."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from augment.pairs import Fault, PairPlan, PairSource
from augment.store.hdf5_layout import CLEAN_ROWS, FORMAT, PAIR_ROWS, VERSION, Array
from augment.store.partial import Partial
from augment.value_range import in_range

AHEAD = 2  # chunks per process that are computed ahead: enough to keep all busy, few enough for the memory
CHUNK_BYTES = 1 << 26
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images of some units in the stored type: rows and values of each table."""

    units: range
    tables: dict[str, tuple[Array, Array]]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes the images of a source in the stored type; if it is strict, an image that cannot be read is an error."""

    pairs: PairSource
    dtype: str
    device: str
    strict: bool

    def chunk(self, units: range) -> Chunk:
        """The images of some units; refuses values outside [0, 1]."""
        made = self.pairs.make(units, device=self.device)
        self.refuse(made.faults)
        tables: dict[str, tuple[Array, Array]] = {}
        if made.clean is not None:
            tables["clean"] = (made.clean_rows, self._stored(made.clean))
            tables["label"] = (made.clean_rows, made.labels)
        if made.changed is not None:
            tables["changed"] = (made.changed_rows, self._stored(made.changed))
        return Chunk(units, tables, made.faults)

    def refuse(self, faults: Sequence[Fault]) -> None:
        """Raises an error for faults if the maker is strict."""
        if self.strict and faults:
            raise ValueError(f"strict: {faults[0].reason}. Mend or remove it, or leave out `strict` to skip such files")

    def _stored(self, images: torch.Tensor) -> Array:
        if images.dtype == torch.uint8:
            pixels: Array = images.numpy()
            return pixels if self.dtype == "uint8" else pixels.astype(np.float32) / np.float32(255)
        images = in_range(images.float(), name="changed images", normalized="let the change return images in [0, 1]")
        stored: Array = (images * 255).round().byte().numpy() if self.dtype == "uint8" else images.numpy()
        return stored

    def chunks(self, units: Sequence[range], processes: int) -> Iterator[Chunk]:
        """Chunks in order, made in this process if ``processes`` is 1, else in that many spawned ones."""
        if processes == 1:
            yield from map(self.chunk, units)
            return
        threads = max(1, torch.get_num_threads() // processes)
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (self, threads))
        try:
            running: deque[Future[Chunk]] = deque()
            for some in units:
                running.append(pool.submit(_work, some))
                if len(running) >= AHEAD * processes:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_maker: Maker  # of this worker process


def _begin(maker: Maker, threads: int) -> None:
    global _maker
    _maker = maker
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: the pool alone would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(units: range) -> Chunk:
    return _maker.chunk(units)


@dataclass(frozen=True)
class WrittenPairs:
    """A pair file that was written: numbers of pairs, of different images in them, and of pairs by split and condition.

    Of each image that could not be read, `skipped` says why.
    """

    path: Path
    pairs: int
    images: int
    counts: Mapping[str, Mapping[str, int]]
    skipped: tuple[str, ...]


def write_pairs(
    path: Path | str,
    pairs: PairSource,
    *,
    dtype: Literal["uint8", "float32"] = "uint8",
    device: torch.device | str = "cpu",
    batch: int = 1024,
    processes: int = 1,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenPairs:
    """Makes the pairs of a source and writes them to one HDF5 file.

    The same arguments give the same bytes, whatever `batch` and `processes`. A kill or an error leaves the folder
    ``NAME.partial`` beside the file, from which the next call with the same pairs continues, to the same bytes; pairs
    of another source, change, seed or type start anew.

    Args:
        path: The file to write; an existing one is replaced.
        pairs: The pairs: :class:`ChangedPairs`, :class:`PairedFolders`, :class:`Manifest`, :class:`Scenes`, or any
            other :class:`PairSource`.
        dtype: Type of stored images: 8 bits (rounded) or floating point.
        device: Device on which changes are computed.
        batch: Largest number of images made at a time; for large images it is reduced.
        processes: Number of processes that make images. More than one are spawned, so the calling script needs its
            ``if __name__ == "__main__":``.
        strict: Whether an image that cannot be read is an error. If not, it is skipped with its pairs, logged as a
            warning and listed in the result.
        progress: Called with the number of images done and of all.

    Raises:
        ValueError: If there are no pairs, an argument is out of range, shapes differ, splits share groups, changed
            images are not in [0, 1], or (if strict) an image cannot be read.
        OSError: If the disk is full or the folder is not writable; nothing half-written is left. Errors of the source
            are raised unchanged.

    Example:
        >>> from augment import ChangedPairs, Digits, SpatialChange
        >>> pairs = ChangedPairs({"test": Digits("test")}, SpatialChange(), draws=10, seed=0)
        >>> write_pairs("pairs.h5", pairs).pairs  # doctest: +SKIP
        3000
    """
    path = Path(path)
    if dtype not in ("uint8", "float32"):
        raise ValueError(f'dtype must be "uint8" or "float32", got {dtype!r}')
    if batch < 1 or processes < 1:
        raise ValueError(f"batch and processes must be at least 1, got batch={batch}, processes={processes}")
    plan, maker = pairs.plan(), Maker(pairs, dtype, str(device), strict)
    first = _first_chunk(maker, plan)
    shape = first.tables["clean"][1].shape[1:]
    tables: dict[str, tuple[tuple[int, ...], str]] = {"clean": ((plan.clean_rows, *shape), dtype)}
    if plan.changed_starts is not None:
        tables["changed"] = ((plan.changed_rows, *shape), dtype)
    tables["label"] = ((plan.clean_rows,), "int64")
    with Partial(path, tables, _fingerprint(pairs, plan, first)) as partial:
        most = min(batch, max(1, CHUNK_BYTES // (int(np.prod(shape)) * np.dtype(dtype).itemsize)))
        faults = _fill(partial, maker, plan, shape, batch=most, processes=processes, progress=progress)
        kept = _kept(plan, faults)
        index = {name: getattr(plan, name) for name in CLEAN_ROWS if name != "label"}
        index |= {name: getattr(plan, name)[kept] for name in PAIR_ROWS}
        versions = {package: metadata.version(package) for package in ("torch", "torchvision", "h5py")}
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "splits": list(plan.splits),
            "conditions": list(plan.conditions),
            "provenance": json.dumps({**pairs.describe(), "versions": versions}, sort_keys=True),
        }
        links = {} if plan.changed_starts is not None else {"changed": "clean"}
        partial.finish({"parameters": {"names": list(plan.parameter_names)}, "/": attributes}, index, links)
    return WrittenPairs(
        path=path,
        pairs=len(kept),
        images=_images(plan, kept),
        counts=_counts(plan, kept),
        skipped=tuple(fault.reason for fault in faults),
    )


def _first_chunk(maker: Maker, plan: PairPlan) -> Chunk:
    """The first unit that can be made; it has the shape, and shows whether code or data changed since a kill."""
    reasons = []
    for unit in range(plan.units):
        chunk = maker.chunk(range(unit, unit + 1))
        if "clean" in chunk.tables:
            return chunk
        reasons += [fault.reason for fault in chunk.faults]
    raise ValueError(f"no image of the pairs could be read, {len(reasons)} failed; the first: {reasons[:1]}")


def _fingerprint(pairs: PairSource, plan: PairPlan, first: Chunk) -> str:
    digest = hashlib.sha256(
        f"{FORMAT} {VERSION} {plan.digest()} {json.dumps(pairs.describe(), sort_keys=True)}".encode()
    )
    for name, (_, values) in first.tables.items():
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _fill(
    partial: Partial,
    maker: Maker,
    plan: PairPlan,
    shape: tuple[int, ...],
    *,
    batch: int,
    processes: int,
    progress: Callable[[int, int], None] | None,
) -> list[Fault]:
    """Makes and writes the missing images; returns all faults, earlier ones included, in the order of rows."""
    images = plan.images_until()
    total = int(images[-1])
    open_units = np.ones(plan.units, dtype=bool)
    faults: list[Fault] = []
    for record in partial.records:
        open_units[slice(*record["units"])] = False
        faults += [Fault(*fault) for fault in record["faults"]]
    maker.refuse(faults)
    done = total - int(np.diff(images)[open_units].sum())
    for chunk in maker.chunks(_runs(open_units, images, batch), processes):
        for fault in chunk.faults:
            log.warning("skipped: %s", fault.reason)
        for name, (rows, values) in chunk.tables.items():
            if name != "label" and values.shape[1:] != shape:
                raise ValueError(
                    f"pairs must hold images of one shape, got {values.shape[1:]} after {shape}: give a size to the "
                    "source"
                )
            partial.write(name, rows, values)
        units = (chunk.units.start, chunk.units.stop)
        partial.record({"units": units, "faults": [list(fault) for fault in chunk.faults]})
        faults += chunk.faults
        done += int(images[units[1]] - images[units[0]])
        if progress is not None:
            progress(done, total)
    return sorted(faults, key=lambda fault: (fault.row, fault.table))


def _runs(open_units: Array, images: Array, batch: int) -> list[range]:
    """Runs of open units of about `batch` images each."""
    units = np.flatnonzero(open_units)
    if not len(units):
        return []
    parts = images[units] // batch
    breaks = np.flatnonzero((np.diff(units) != 1) | (np.diff(parts) != 0)) + 1
    return [range(int(run[0]), int(run[-1]) + 1) for run in np.split(units, breaks)]


def _kept(plan: PairPlan, faults: list[Fault]) -> Array:
    """Numbers of the pairs both of whose images could be read."""
    clean, changed = np.ones(plan.clean_rows, dtype=bool), np.ones(plan.changed_rows, dtype=bool)
    for fault in faults:
        (clean if fault.table == "clean" else changed)[fault.row] = False
    targets = clean if plan.changed_starts is None else changed
    kept = np.flatnonzero(clean[plan.source] & targets[plan.target])
    if not len(kept):
        raise ValueError(f"no pair could be made, {len(faults)} images failed; the first: {faults[0].reason}")
    return kept


def _images(plan: PairPlan, kept: Array) -> int:
    """Number of different images in pairs."""
    source, target = plan.source[kept], plan.target[kept]
    if plan.changed_starts is None:
        return len(np.union1d(source, target))
    return len(np.unique(source)) + len(np.unique(target))


def _counts(plan: PairPlan, kept: Array) -> dict[str, dict[str, int]]:
    splits, conditions = plan.split[plan.source[kept]], plan.condition[kept]
    table = np.zeros((len(plan.splits), len(plan.conditions)), dtype=np.int64)
    np.add.at(table, (splits, conditions), 1)
    return {
        split: {name: int(count) for name, count in zip(plan.conditions, row, strict=True) if count}
        for split, row in zip(plan.splits, table, strict=True)
    }
