"""How much of the time of ``cvae.fit`` is spent in the networks?

A round fits a model, then runs the bare networks as often: forward and backward of the same loss on one fixed
float batch, without and with a fused AdamW step. What fit adds is batches from uint8, noise, the learning rate,
clipping, the optimizer, logging, its own set-up, and one validation on a single batch at the end. No checkpoint
is written.

    python tests/benchmarks/training.py --json training.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from timing import compare, ratios, write
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae import CVAE, ConvCVAE, FitSettings, SpatialCVAE, fit
from perturbsets.memory import keep_freed_memory

TARGET = 0.90


class InMemoryPairs(TensorDataset):
    """Pairs of uint8 images that are handed out a whole batch at a time."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs at some indices."""
        clean, changed = self.tensors
        return clean[indices], changed[indices]


def bare(model: CVAE, batch: int, steps: int, *, optimizer: bool) -> Callable[[], None]:
    """Forward and backward of fit's loss on a fixed batch, with or without a step of AdamW."""
    clean, changed = torch.rand(2, batch, *model.shape)
    noise = torch.randn(batch, model.latent)
    adamw = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.0, fused=True)

    def run() -> None:
        model.train()
        for _ in range(steps):
            terms = model(clean, changed, noise)
            model.likelihood.calibrate(terms.statistic.detach().mean(), model.pixels)
            reconstruction = -model.likelihood.log_prob(terms.statistic, model.pixels).mean() / model.pixels
            (reconstruction + terms.kl.mean() / model.pixels).backward()
            if optimizer:
                adamw.step()
            adamw.zero_grad(set_to_none=True)

    return run


def measure(architecture: type[CVAE], *, steps: int, batch: int, repeats: int, pairs: int) -> dict[str, float]:
    """Steps per second, and the share of the networks in them."""
    torch.manual_seed(0)
    images = torch.randint(256, (2, pairs, 1, 28, 28), dtype=torch.uint8)
    train_pairs, validation_pairs = InMemoryPairs(*images), InMemoryPairs(*images[:, :batch])
    settings = FitSettings(steps=steps, batch=batch, validate_every=steps)
    seconds = compare(
        {
            "fit": lambda: fit(architecture(), train_pairs, validation_pairs, settings),
            "networks": bare(architecture(), batch, steps, optimizer=False),
            "networks and optimizer": bare(architecture(), batch, steps, optimizer=True),
        },
        repeats,
    )
    share = ratios(seconds["networks"], seconds["fit"])
    return {
        "steps_per_second_fit": steps / median(seconds["fit"]),
        "steps_per_second_networks": steps / median(seconds["networks"]),
        "steps_per_second_networks_and_optimizer": steps / median(seconds["networks and optimizer"]),
        "share": share["median"],
        "share_quartile_1": share["quartile_1"],
        "share_quartile_3": share["quartile_3"],
        "share_with_optimizer": ratios(seconds["networks and optimizer"], seconds["fit"])["median"],
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=300, help="optimizer steps per repeat; a third of them for ConvCVAE"
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=4096, help="pairs in memory")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    sizes = {name: getattr(options, name) for name in ("steps", "batch", "repeats", "pairs")}
    figures = {}
    print(f"{'steps per second':18}{'fit':>8}{'networks':>10}{'+ AdamW':>9}{'share':>8}{'quartiles':>15}{'+ AdamW':>9}")
    for architecture, part in ((SpatialCVAE, 1), (ConvCVAE, 3)):
        row = figures[architecture.__name__] = measure(architecture, **{**sizes, "steps": options.steps // part})
        print(
            f"{architecture.__name__:18}{row['steps_per_second_fit']:8.1f}{row['steps_per_second_networks']:10.1f}"
            f"{row['steps_per_second_networks_and_optimizer']:9.1f}{row['share']:8.3f}"
            f"{row['share_quartile_1']:8.3f}-{row['share_quartile_3']:.3f}{row['share_with_optimizer']:9.3f}",
            flush=True,
        )
    print(f"share: networks' seconds / fit's seconds, median of rounds; target at least {TARGET:.2f}")
    write(options.json, sizes | {"target": TARGET, "threads": options.threads, "checkpoint": False}, figures)


if __name__ == "__main__":
    main()
