"""How near does a set learned in one pass over MNIST come to turned, sized and shifted digits, and in what time?

The published program, with the same images seen, leaves 0.0639 nats per pixel: the binary cross-entropy of the best
member of its set, 0.0902, over that of the changed image with itself, 0.0263, on 512 held-out images, after 158 CPU
seconds. Its changes are of the same ranges (45 degrees, sizes 0.7 to 1.3, 7 of 42 pixels), but it turns by the nearest
pixel and shifts by whole ones; ours are bilinear, which leaves more grey and so a higher floor.

    python tests/benchmarks/mnist_rts.py --root data/mnist --json mnist_rts.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import write
from torch import Tensor

from augment import MNIST, ChangedPairs, PairStore, SpatialChange, write_pairs
from cvae import FitSettings, SpatialCVAE, fit
from perturbsets import LatentBall, NecessarySubset, radius_from_pairs
from perturbsets.criteria.necessary import cross_entropy_excess
from perturbsets.criteria.pairs import batches
from perturbsets.memory import keep_freed_memory

CHANGE = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=7 / 42)
SEEN, HELD_OUT, BATCH = 59_000, 512, 32
TARGETS = {"excess_best_member": 0.0127, "cpu_seconds_fit": 158.0}


@dataclass(frozen=True)
class First:
    """The first pairs of a store."""

    pairs: PairStore
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.pairs))

    def batch(self, indices: Any) -> Any:
        """Pairs at some indices."""
        return self.pairs.batch(indices)


def fitted(path: Path, settings: FitSettings) -> tuple[SpatialCVAE, float]:
    """A model fitted to the stored pairs, and the CPU seconds of that, validation included."""
    torch.manual_seed(settings.seed)
    began = time.process_time()
    model = SpatialCVAE(1, 42, 42, latent=16, grid=0)
    fit(model, PairStore(path, "train"), PairStore(path, "validation"), settings, progress=True)
    return model, time.process_time() - began


@torch.no_grad()
def at_encodings(ball: LatentBall, pairs: First) -> tuple[Tensor, Tensor]:
    """Per pair the floor, and the excess over it at the encoding within the ball."""
    floors, excesses = [], []
    for clean, changed, *_ in batches(pairs):
        region = ball.at(clean)
        member = region.decode(region.project(region.encode(changed)))
        own = torch.xlogy(changed, changed) + torch.xlogy(1 - changed, 1 - changed)
        floors.append(-own.flatten(1).mean(1))
        excesses.append(cross_entropy_excess(member, changed))
    return torch.cat(floors), torch.cat(excesses)


def main() -> None:
    """Fits, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/mnist", help="folder of MNIST")
    parser.add_argument("--seen", type=int, default=SEEN, help="training images seen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    steps = options.seen // BATCH
    settings = FitSettings(
        steps=steps, batch=BATCH, learning_rate=2e-3, validate_every=steps, blur=4.0, seed=options.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.h5"
        sources = {
            split: MNIST(split, options.root, held=60_000 - SEEN, size=42) for split in ("train", "validation", "test")
        }
        write_pairs(path, ChangedPairs(sources, CHANGE, seed=options.seed))
        model, seconds = fitted(path, settings)
        radius = radius_from_pairs(model, PairStore(path, "validation"))
        ball, held_out = LatentBall(model, radius), First(PairStore(path, "test"), HELD_OUT)
        floor, encoding = at_encodings(ball, held_out)
        result = NecessarySubset()(ball, held_out, generator=torch.Generator().manual_seed(options.seed))
    figures = {
        "images_seen": steps * BATCH,
        "cpu_seconds_fit": seconds,
        "held_out_pairs": len(held_out),
        "radius": radius,
        "floor": float(floor.mean()),
        "excess_encoding": float(encoding.mean()),
        "excess_best_member": float(result.excess.mean()),
        "excess_best_member_q95": float(result.excess.quantile(0.95)),
        "excess_best_member_max": float(result.excess.max()),
        "squared_error_best_member": float(result.search.mean()),
    }
    for name, value in figures.items():
        target = f"   target at most {TARGETS[name]}" if name in TARGETS else ""
        print(f"{name:26} {value:10.5g}{target}")
    write(options.json, {"settings": str(settings), "targets": TARGETS}, figures)


if __name__ == "__main__":
    main()
