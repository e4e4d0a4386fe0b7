"""How many images a second does ``Perturb`` change, and what does it cost beside the set alone?

The floor draws offsets and decodes them, in batches on the device. ``Perturb`` adds the handling of types and
structures, and keeps the draws. Images come one by one as well, as a data set without batches hands them out.

    python tests/benchmarks/perturb.py --json perturb.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from timing import compare, ratios, write
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype

from augment import Perturb
from cvae import SpatialCVAE
from perturbsets import LatentBall, PixelBall, SpatialBox
from perturbsets.memory import keep_freed_memory
from perturbsets.sets.base import PerturbationSet


def floor(perturbations: PerturbationSet, images: Tensor) -> Callable[[], None]:
    """Draws and decodes, from uint8 to uint8."""

    def run() -> None:
        with torch.no_grad():
            region = perturbations.at(to_dtype(images, torch.float32, scale=True))
            to_dtype(region.decode(region.sample()), torch.uint8, scale=True)

    return run


def measure(perturbations: PerturbationSet, *, batch: int, singles: int, repeats: int) -> dict[str, float]:
    """Images a second in batches and one by one, and the ratio to the floor."""
    images = torch.randint(256, (batch, 1, 28, 28), dtype=torch.uint8)
    transform = Perturb(perturbations)
    seconds = compare(
        {
            "transform": lambda: transform(images),
            "floor": floor(perturbations, images),
            "singles": lambda: [transform(image) for image in images[:singles]],
        },
        repeats,
        warmup=3,
    )
    return {
        "images_per_second": batch / median(seconds["transform"]),
        "images_per_second_floor": batch / median(seconds["floor"]),
        "images_per_second_singly": singles / median(seconds["singles"]),
        "cost": ratios(seconds["transform"], seconds["floor"])["median"],
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--singles", type=int, default=64, help="images handed over one by one")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    sets: dict[str, PerturbationSet] = {
        "LatentBall, bank": LatentBall(SpatialCVAE(), 8.0, bank=torch.randn(4096, 16)),
        "LatentBall, prior": LatentBall(SpatialCVAE(), 8.0),
        "SpatialBox": SpatialBox(),
        "PixelBall linf 0.1": PixelBall("linf", 0.1),
    }
    figures = {}
    print(f"{'images per second':20}{'batches':>10}{'floor':>10}{'cost':>7}{'one by one':>12}")
    for name, perturbations in sets.items():
        row = figures[name] = measure(
            perturbations, batch=options.batch, singles=options.singles, repeats=options.repeats
        )
        print(
            f"{name:20}{row['images_per_second']:10.0f}{row['images_per_second_floor']:10.0f}{row['cost']:7.2f}"
            f"{row['images_per_second_singly']:12.0f}",
            flush=True,
        )
    print("cost: the transform's seconds / the floor's seconds on batches, median of rounds")
    write(options.json, {"batch": options.batch, "singles": options.singles, "image": [1, 28, 28]}, figures)


if __name__ == "__main__":
    main()
