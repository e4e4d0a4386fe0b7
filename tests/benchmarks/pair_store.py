"""How fast does ``PairStore.batch`` read, beside a bare memory map of the same data?

Both read the same random rows of one file that lies in the page cache. The floor gathers the same data, changed and
clean images; beside it stands what gathering the changed ones alone takes.

    python tests/benchmarks/pair_store.py --json pair_store.json
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from timing import compare, ratios, write
from torch import Tensor

from augment import PairStore, SpatialChange, write_pairs

TARGET = 0.50


class Noise:
    """A source of random images of any size."""

    name = "noise"

    def __init__(self, count: int, size: int) -> None:
        self.images, self.indices = torch.rand(count, 3, size, size), torch.arange(count)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images and labels at some indices."""
        return self.images[list(indices)], torch.zeros(len(indices), dtype=torch.int64)


def bare(path: Path, names: tuple[str, ...]) -> Callable[[Tensor, Tensor], list[Tensor]]:
    """Reads rows of some data sets through memory maps made by hand."""
    with h5py.File(path) as file:
        maps = {
            name: np.memmap(path, file[name].dtype, "r", file[name].id.get_offset(), file[name].shape) for name in names
        }

    def read(rows: Tensor, sources: Tensor) -> list[Tensor]:
        wanted = {"changed": rows.numpy(), "clean": sources.numpy()}
        return [torch.from_numpy(np.asarray(maps[name][wanted[name]])) for name in names]

    return read


def measure(path: Path, *, batch: int, batches: int, repeats: int) -> dict[str, float]:
    """Images a second of the store and of bare memory maps, and their ratios."""
    store = PairStore(path)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(len(store), (batch,), generator=generator) for _ in range(batches)]
    sources = [store.sources[part] for part in rows]
    changed, both = bare(path, ("changed",)), bare(path, ("changed", "clean"))
    seconds = compare(
        {
            "store": lambda: [store.batch(part) for part in rows],
            "changed": lambda: [changed(part, source) for part, source in zip(rows, sources, strict=True)],
            "both": lambda: [both(part, source) for part, source in zip(rows, sources, strict=True)],
        },
        repeats,
    )
    return {
        "pairs_per_second_store": batch * batches / median(seconds["store"]),
        "rows_per_second_changed": batch * batches / median(seconds["changed"]),
        "speed_beside_changed": ratios(seconds["changed"], seconds["store"])["median"],
        "speed_beside_both": ratios(seconds["both"], seconds["store"])["median"],
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40, help="batches per repeat")
    parser.add_argument("--sources", type=int, default=1000, help="clean images; ten pairs each")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    figures = {}
    print(f"{'pairs per second':18}{'store':>10}{'changed':>10}{'of it':>8}{'of both':>9}")
    for size in (32, 96):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.h5"
            write_pairs(path, {"train": Noise(options.sources, size)}, SpatialChange(), draws={"train": 10}, seed=0)
            row = figures[f"3x{size}x{size}"] = measure(
                path, batch=options.batch, batches=options.batches, repeats=options.repeats
            )
        print(
            f"{f'3 x {size} x {size}, uint8':18}{row['pairs_per_second_store']:10.0f}"
            f"{row['rows_per_second_changed']:10.0f}{row['speed_beside_changed']:8.2f}{row['speed_beside_both']:9.2f}",
            flush=True,
        )
    print(f"of both: speed of the store / speed of memory maps of the same data; target at least {TARGET:.2f}")
    write(options.json, {"batch": options.batch, "batches": options.batches, "target": TARGET}, figures)


if __name__ == "__main__":
    main()
