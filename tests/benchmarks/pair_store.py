"""How fast does ``PairStore.batch`` read beside a bare memory map, and what limits ``write_pairs``?

Reading: store and map gather the same rows of one file that lies in the page cache, clean and changed images; random
batches, and batches that follow each other. The map's neighbours are slices. Writing: the time that a store of
CIFAR-10 takes (decoded from the JPEG sample, where it is there) beside that of reading the source and changing its
images alone, with nothing written.

    python tests/benchmarks/pair_store.py --json pair_store.json
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from timing import ROOT, compare, ratios, write
from torch import Tensor

from augment import ChangedPairs, PairStore, SpatialChange, write_pairs

TARGETS = {"random": 0.80, "sequential": 0.90}
SAMPLE = ROOT.parent / "shared" / "data" / "cifar10" / "cifar10_jpeg.npz"


class Pictures:
    """CIFAR-10 training images from the sample of JPEG files; random images where there is none."""

    name = "pictures"
    classes: tuple[str, ...] = ()

    def __init__(self, count: int) -> None:
        self.images = _decoded(count) if SAMPLE.is_file() else torch.randint(256, (count, 3, 32, 32)).byte()
        self.indices = torch.arange(count)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images and labels at some indices."""
        return self.images[list(indices)].float() / 255, torch.full((len(indices),), -1)


def _decoded(count: int) -> Tensor:
    with np.load(SAMPLE, allow_pickle=False) as data:
        content, offsets = data["train_jpeg"], data["train_offsets"]
    pictures = [
        np.array(Image.open(io.BytesIO(content[offsets[row] : offsets[row + 1]].tobytes()))) for row in range(count)
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def bare(path: Path) -> Callable[[Any, Any], list[Tensor]]:
    """Reads rows or slices of both tables through memory maps made by hand."""
    with h5py.File(path) as file:
        maps = [
            np.memmap(path, file[name].dtype, "r", file[name].id.get_offset(), file[name].shape)
            for name in ("clean", "changed")
        ]

    def read(clean: Any, changed: Any) -> list[Tensor]:
        return [torch.from_numpy(np.array(part[rows])) for part, rows in zip(maps, (clean, changed), strict=True)]

    return read


def reading(path: Path, *, batch: int, batches: int, repeats: int) -> dict[str, dict[str, float]]:
    """Pairs a second of the store, and its speed beside the maps, for random rows and for rows in order."""
    store, map_of = PairStore(path), bare(path)
    with h5py.File(path) as file:
        source, target = file["source"][()], file["target"][()]
    draw = np.random.default_rng(0)
    figures = {}
    for order in TARGETS:
        if order == "random":
            rows = [draw.integers(0, len(store), batch) for _ in range(batches)]
            wanted: list[tuple[Any, Any]] = [(source[part], target[part]) for part in rows]
        else:
            rows = [np.arange(start * batch, (start + 1) * batch) for start in range(batches)]
            wanted = [(slice(part[0], part[-1] + 1),) * 2 for part in rows]
        seconds = compare(
            {
                "store": lambda rows=rows: [store.batch(part) for part in rows],
                "map": lambda wanted=wanted: [map_of(*part) for part in wanted],
            },
            repeats,
        )
        ratio = ratios(seconds["map"], seconds["store"])
        figures[order] = {"pairs_per_second": batch * batches / median(seconds["store"]), **ratio}
    return figures


def writing(folder: Path, pairs: ChangedPairs, batch: int, repeats: int) -> dict[str, float]:
    """Share of the time to write a store that its images take to be read and changed."""
    plan = pairs.plan()
    units = [range(start, min(start + batch, plan.units)) for start in range(0, plan.units, batch)]
    seconds = compare(
        {
            "store": lambda: write_pairs(folder / "written.h5", pairs, batch=2 * batch),
            "making": lambda: [pairs.make(part) for part in units],
        },
        repeats,
    )
    return {"seconds": median(seconds["store"]), **ratios(seconds["making"], seconds["store"])}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=100, help="batches per repeat")
    parser.add_argument("--pairs", type=int, default=60_000)
    parser.add_argument("--written", type=int, default=10_000, help="pairs of the store whose writing is timed")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    pictures = Pictures(min(options.pairs, 25_000))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "pairs.h5"
        _fill(path, pictures, options.pairs)
        figures: dict[str, Any] = {
            "reading": reading(path, batch=options.batch, batches=options.batches, repeats=options.repeats)
        }
        for order, row in figures["reading"].items():
            print(
                f"{order:12}{row['pairs_per_second']:12,.0f} pairs/s{row['median']:8.2f} of the memory map's speed "
                f"({row['quartile_1']:.2f} to {row['quartile_3']:.2f}), target at least {TARGETS[order]:.2f}",
                flush=True,
            )
        few = Pictures(options.written)
        pairs = ChangedPairs({"train": few}, SpatialChange())
        row = figures["writing"] = writing(Path(name), pairs, 512, max(3, options.repeats // 3))
    print(f"writing {options.written:,} pairs: {row['seconds']:.2f} s, {row['median']:.0%} of it to make the images")
    write(options.json, {"batch": options.batch, "batches": options.batches, "targets": TARGETS}, figures)


def _fill(path: Path, pictures: Pictures, count: int) -> None:
    """A store of as many clean as changed images, each pair beside the next."""

    class Many(Pictures):
        def __init__(self) -> None:
            self.images, self.indices = pictures.images, torch.arange(count)

        def __len__(self) -> int:
            return count

        def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
            return super().batch([index % len(self.images) for index in indices])

    write_pairs(path, ChangedPairs({"train": Many()}, SpatialChange()))


if __name__ == "__main__":
    main()
