"""A writer of pairs that is slow, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

from torch import Tensor

from augment import ChangedPairs, Digits, SpatialChange, write_pairs


class Slow(SpatialChange):
    """A change that is slow where the environment says so: what it makes does not depend on that."""

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        time.sleep(float(os.environ["PAUSE"]))
        return super().apply(images, parameters)


def write(target: Path, pause: float, seed: int, processes: int, done: Connection) -> None:
    """Sends how many images are done, with the processes that make them."""
    os.environ["PAUSE"] = str(pause)
    pairs = ChangedPairs({"test": Digits("test", size=12, digit=8)}, Slow(), draws=4, seed=seed)

    def send(count: int, total: int) -> None:
        done.send([count, *(child.pid for child in multiprocessing.active_children())])

    write_pairs(target, pairs, batch=40, processes=processes, progress=send)
