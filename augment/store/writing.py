"""Making pairs of images and writing them to HDF5, whole or not at all, and on where a kill ended it."""

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

from augment.pairs import Fault, Made, PairPlan, PairSource
from augment.store.hdf5_layout import CLEAN_ROWS, FORMAT, PAIR_ROWS, VERSION, Array
from augment.store.partial import Partial
from augment.value_range import in_range

# Chunks of a pair source, made one after the other or by several processes.


AHEAD = 2  # chunks per process that may be under way: enough to keep all busy, few enough to stay in memory


@dataclass(frozen=True, eq=False)
class Chunk:
    """Images of some units in the stored type: per table the rows and their values."""

    units: range
    tables: dict[str, tuple[Array, Array]]
    faults: tuple[Fault, ...]


def make_chunk(pairs: PairSource, units: range, dtype: str, device: torch.device | str) -> Chunk:
    """Makes the images of some units and brings them to the stored type.

    Raises:
        ValueError: If an image leaves [0, 1].
    """
    made = pairs.make(units, device=device)
    return Chunk(units, _tables(made, dtype), made.faults)


def make_chunks(
    pairs: PairSource, chunks: Sequence[range], dtype: str, device: torch.device | str, processes: int
) -> Iterator[Chunk]:
    """Makes chunks, in order.

    Args:
        pairs: The source; pickled into each process.
        chunks: Units of each chunk.
        dtype: Type of stored images.
        device: Where changes are computed.
        processes: 1 for this process alone; else that many are spawned.
    """
    if processes == 1:
        for units in chunks:
            yield make_chunk(pairs, units, dtype, device)
        return
    threads = max(1, torch.get_num_threads() // processes)
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _begin, (pairs, dtype, str(device), threads)
    )
    try:
        running: deque[Future[Chunk]] = deque()
        for units in chunks:
            running.append(pool.submit(_work, units))
            if len(running) >= AHEAD * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_given: tuple[PairSource, str, str]


def _begin(pairs: PairSource, dtype: str, device: str, threads: int) -> None:
    global _given
    _given = (pairs, dtype, device)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: the pool alone would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(units: range) -> Chunk:
    pairs, dtype, device = _given
    return make_chunk(pairs, units, dtype, device)


def _tables(made: Made, dtype: str) -> dict[str, tuple[Array, Array]]:
    tables: dict[str, tuple[Array, Array]] = {}
    if made.clean is not None:
        tables["clean"] = (made.clean_rows, _stored(made.clean, dtype))
        tables["label"] = (made.clean_rows, made.labels)
    if made.changed is not None:
        tables["changed"] = (made.changed_rows, _stored(made.changed, dtype))
    return tables


def _stored(images: torch.Tensor, dtype: str) -> Array:
    if images.dtype == torch.uint8:
        pixels: Array = images.numpy()
        return pixels if dtype == "uint8" else pixels.astype(np.float32) / np.float32(255)
    images = in_range(images.float(), name="changed images", normalized="let the change return images in [0, 1]")
    found: Array = (images * 255).round().byte().numpy() if dtype == "uint8" else images.numpy()
    return found


CHUNK_BYTES = 1 << 26
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenPairs:
    """What a pair file holds, and what it had to leave out.

    Attributes:
        path: The file.
        pairs: Number of pairs.
        images: Number of images in them, clean and changed ones.
        counts: Pairs of each split under each condition.
        skipped: Why each image that could not be read is missing.
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
    """Stores the pairs of a source in one file.

    The same arguments give the same bytes, whatever `batch` and `processes`. A kill or an error leaves the folder
    ``NAME.partial`` beside the target, and the next call with the same pairs goes on from there, to the same bytes;
    pairs of any other source, change, seed or type start anew.

    Args:
        path: The file to write; an existing one is replaced.
        pairs: Which pairs; :class:`ChangedPairs`, :class:`PairedFolders`, :class:`Manifest`, :class:`Scenes`, or
            anything of this shape.
        dtype: How images are stored: 8 bits (rounded) or floating point.
        device: Where changes are computed.
        batch: Most images made at a time; large ones are made fewer at a time.
        processes: How many processes make images. More than one are spawned: the calling script then needs its
            ``if __name__ == "__main__":``.
        strict: Whether an image that cannot be read is an error. If not, it is skipped with its pairs, a warning in
            the log and an entry in what is returned.
        progress: Called with images done and images in all.

    Returns:
        What was written.

    Raises:
        ValueError: If there are no pairs, an argument is out of range, shapes differ, splits share groups, a change
            leaves [0, 1], or (where strict) an image cannot be read.
        OSError: If the disk is full or the folder not writable; nothing half-written is left. What a source raises
            passes as it is.

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
    plan = pairs.plan()
    first = _first_chunk(pairs, plan, dtype, device, strict)
    shape = first.tables["clean"][1].shape[1:]
    tables: dict[str, tuple[tuple[int, ...], str]] = {"clean": ((plan.clean_rows, *shape), dtype)}
    if plan.changed_starts is not None:
        tables["changed"] = ((plan.changed_rows, *shape), dtype)
    tables["label"] = ((plan.clean_rows,), "int64")
    with Partial(path, tables, _fingerprint(pairs, plan, first)) as partial:
        faults = _fill(partial, pairs, plan, shape, dtype, device, batch, processes, strict, progress)
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


def _first_chunk(pairs: PairSource, plan: PairPlan, dtype: str, device: torch.device | str, strict: bool) -> Chunk:
    """The first unit that can be made: it tells the shape, and whether code or data changed since a kill."""
    reasons = []
    for unit in range(plan.units):
        chunk = make_chunk(pairs, range(unit, unit + 1), dtype, device)
        _refuse_faults(chunk.faults, strict)
        if "clean" in chunk.tables:
            return chunk
        reasons += [fault.reason for fault in chunk.faults]
    raise ValueError(f"no image of the pairs could be read, {len(reasons)} failed; the first: {reasons[:1]}")


def _fingerprint(pairs: PairSource, plan: PairPlan, first: Chunk) -> str:
    found = hashlib.sha256(
        f"{FORMAT} {VERSION} {plan.digest()} {json.dumps(pairs.describe(), sort_keys=True)}".encode()
    )
    for name, (_, values) in first.tables.items():
        found.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()


def _fill(
    partial: Partial,
    pairs: PairSource,
    plan: PairPlan,
    shape: tuple[int, ...],
    dtype: str,
    device: torch.device | str,
    batch: int,
    processes: int,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> list[Fault]:
    """Makes and writes what is missing; gives all faults, former ones included, in the order of rows."""
    images = plan.images_until()
    total = done = int(images[-1])
    open_units = np.ones(plan.units, dtype=bool)
    faults: list[Fault] = []
    for record in partial.records:
        open_units[slice(*record["units"])] = False
        faults += [Fault(*fault) for fault in record["faults"]]
    _refuse_faults(faults, strict)
    done -= int(np.diff(images)[open_units].sum())
    most = min(batch, max(1, CHUNK_BYTES // (int(np.prod(shape)) * np.dtype(dtype).itemsize)))
    for chunk in make_chunks(pairs, _chunks(open_units, images, most), dtype, device, processes):
        _refuse_faults(chunk.faults, strict)
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


def _chunks(open_units: Array, images: Array, most: int) -> list[range]:
    """Runs of open units that make about `most` images each."""
    units = np.flatnonzero(open_units)
    if not len(units):
        return []
    parts = images[units] // most
    breaks = np.flatnonzero((np.diff(units) != 1) | (np.diff(parts) != 0)) + 1
    return [range(int(run[0]), int(run[-1]) + 1) for run in np.split(units, breaks)]


def _refuse_faults(faults: list[Fault] | tuple[Fault, ...], strict: bool) -> None:
    if strict and faults:
        raise ValueError(f"strict: {faults[0].reason}. Mend or remove it, or leave out `strict` to skip such files")


def _kept(plan: PairPlan, faults: list[Fault]) -> Array:
    """Numbers of the pairs whose two images are there."""
    clean, changed = np.ones(plan.clean_rows, dtype=bool), np.ones(plan.changed_rows, dtype=bool)
    for fault in faults:
        (clean if fault.table == "clean" else changed)[fault.row] = False
    targets = clean if plan.changed_starts is None else changed
    kept = np.flatnonzero(clean[plan.source] & targets[plan.target])
    if not len(kept):
        raise ValueError(f"no pair could be made, {len(faults)} images failed; the first: {faults[0].reason}")
    return kept


def _images(plan: PairPlan, kept: Array) -> int:
    """Number of images that pairs name."""
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
