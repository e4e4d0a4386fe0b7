"""What does each corruption cost per 32×32 colour image, beside the program that made the published data sets?

Batches of float images in, float images out, draws included, on one thread. Seconds are the process's own, so that
other work on the machine counts less. The published program's figures are those of its loop over single images.

    python tests/benchmarks/corruptions.py --json corruptions.json
    python tests/benchmarks/corruptions.py --size 224 --batch 16 --constants imagenet-c
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path
from statistics import median

import torch
from timing import write

from augment.corruptions import SETTINGS, CommonCorruption, at_severity
from perturbsets.memory import keep_freed_memory

PUBLISHED = {
    "glass_blur": 5700,
    "frost": 4850,
    "zoom_blur": 1655,
    "motion_blur": 811,
    "snow": 732,
    "elastic_transform": 332,
    "brightness": 272,
    "fog": 250,
    "shot_noise": 171,
    "defocus_blur": 116,
    "gaussian_noise": 70,
}
"""Microseconds per image, with the constants ``cifar-c``."""


def seconds(corruption: CommonCorruption, images: torch.Tensor) -> float:
    """CPU seconds of drawing and changing one batch."""
    gc.collect()
    began = time.process_time()
    corruption.apply(images, corruption.draw(len(images)))
    return time.process_time() - began


def measure(names: list[str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median microseconds per image of each corruption: at severity 3, and at the slowest."""
    images = torch.rand(options.batch, 3, options.size, options.size)
    made = {(name, level): at_severity(name, level, options.constants) for name in names for level in range(1, 6)}
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in made}
    for turn in range(-1, options.repeats):  # round after round, so that a slow spell hits all of them
        for key, corruption in made.items():
            spent = seconds(corruption, images)
            if turn >= 0:
                taken[key].append(spent)
    cost = {key: median(each) / len(images) * 1e6 for key, each in taken.items()}
    return {
        name: {"severity_3": cost[name, 3], "slowest": max(cost[name, level] for level in range(1, 6))}
        for name in names
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=32, help="height and width")
    parser.add_argument("--constants", choices=sorted(SETTINGS), default="cifar-c")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    comparable = options.size == 32 and options.constants == "cifar-c"
    figures = measure(sorted(SETTINGS[options.constants]), options)
    print(f"{'µs per image':20}{'severity 3':>11}{'slowest':>9}{'published':>11}{'faster':>8}")
    for name, row in figures.items():
        line = f"{name:20}{row['severity_3']:11.0f}{row['slowest']:9.0f}"
        if comparable and name in PUBLISHED:
            row["published"] = PUBLISHED[name]
            line += f"{PUBLISHED[name]:11d}{PUBLISHED[name] / row['severity_3']:7.1f}x"
        print(line)
    settings = {name: getattr(options, name) for name in ("batch", "size", "constants", "repeats")}
    write(options.json, settings, figures)


if __name__ == "__main__":
    main()
