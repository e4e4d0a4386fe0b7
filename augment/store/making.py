"""Chunks of a pair source, made one after the other or by several processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from augment.pairing import Fault, Made, PairSource
from augment.store.places import Array
from augment.value_range import in_range

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
