"""What does an attack cost beside the gradients it cannot do without?

The floor of k steps of projected gradient is k input-gradient passes through frozen networks and one forward
pass more: the classifier for pixel balls, the generator and the classifier for a latent ball (whose prior is
computed once). The attack adds steps, projections, checks and keeping the best, which cost so much a pixel whatever
the classifier, hence a tiny one on digits and ResNet-18 on 3 x 32 x 32. No image is dropped.

    python tests/benchmarks/attack_cost.py --json attack_cost.json
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from timing import compare, ratios, write
from torch import Tensor, nn
from torchvision.models import resnet18

from cvae import SpatialCVAE
from perturbsets import Adversary, LatentBall, PixelBall, ProjectedGradient
from perturbsets.memory import keep_freed_memory
from perturbsets.models import SmallConvNet
from perturbsets.sets.base import PerturbationSet

TARGET = 1.10


def floor(
    classifier: nn.Module, x: Tensor, y: Tensor, steps: int, ball: LatentBall | None = None
) -> Callable[[], None]:
    """Input-gradient passes at fixed points, and one forward pass."""
    at = torch.zeros(len(x), ball.model.latent) if ball else x

    def run() -> None:
        decode: Callable[[Tensor], Tensor] = nn.Identity()
        if ball:
            with torch.no_grad():
                features = ball.model.context(x)
                prior = ball.model.prior(features)
            decode = lambda u: ball.model.generator(x, features, prior.at(u))  # noqa: E731
        for _ in range(steps):
            u = at.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(classifier(decode(u)), y, reduction="sum"), u)
        with torch.no_grad():
            F.cross_entropy(classifier(decode(at)), y, reduction="sum")

    return run


def measure(
    perturbations: PerturbationSet, classifier: nn.Module, shape: tuple[int, ...], *, steps: int, repeats: int
) -> dict[str, Any]:
    """Seconds of attack and floor, and their ratio."""
    torch.manual_seed(0)
    frozen = copy.deepcopy(classifier).requires_grad_(False)
    x, y = torch.rand(shape), torch.randint(10, shape[:1])
    adversary = Adversary(perturbations, ascent=ProjectedGradient(steps=steps))
    generator = torch.Generator().manual_seed(0)
    ball = perturbations if isinstance(perturbations, LatentBall) else None
    work = {
        "attack": lambda: adversary(classifier, x, y, generator=generator),
        "floor": floor(frozen, x, y, steps, ball),
    }
    seconds = compare(work, repeats, warmup=3)
    ratio = ratios(seconds["attack"], seconds["floor"])
    return {
        "attack_seconds": median(seconds["attack"]),
        "floor_seconds": median(seconds["floor"]),
        **{f"ratio_{name}": value for name, value in ratio.items()},
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256, help="images; a quarter of them for ResNet-18")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    sizes = {name: getattr(options, name) for name in ("steps", "batch", "repeats")}
    small, digits = SmallConvNet().eval(), (options.batch, 1, 28, 28)
    large, colour = resnet18(num_classes=10).eval(), (options.batch // 4, 3, 32, 32)
    cases: dict[str, tuple[PerturbationSet, nn.Module, tuple[int, ...]]] = {
        "SmallConvNet, linf 0.1": (PixelBall("linf", 0.1), small, digits),
        "SmallConvNet, l2 1.5": (PixelBall("l2", 1.5), small, digits),
        "SmallConvNet, latent 2.0": (LatentBall(SpatialCVAE(), 2.0), small, digits),
        "ResNet-18, linf 0.1": (PixelBall("linf", 0.1), large, colour),
        "ResNet-18, l2 1.5": (PixelBall("l2", 1.5), large, colour),
    }
    figures = {}
    print(f"{'milliseconds':26}{'attack':>9}{'floor':>9}{'ratio':>8}{'quartiles':>15}")
    for name, case in cases.items():
        row = figures[name] = measure(*case, steps=options.steps, repeats=options.repeats)
        print(
            f"{name:26}{1e3 * row['attack_seconds']:9.1f}{1e3 * row['floor_seconds']:9.1f}{row['ratio_median']:8.3f}"
            f"{row['ratio_quartile_1']:8.3f}-{row['ratio_quartile_3']:.3f}",
            flush=True,
        )
    print(f"ratio: attack's seconds / floor's seconds, median of rounds; target at most {TARGET:.2f}")
    write(options.json, sizes | {"target": TARGET, "threads": options.threads, "starts": "uniform"}, figures)


if __name__ == "__main__":
    main()
