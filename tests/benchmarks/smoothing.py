"""What does a certificate by randomised smoothing cost beside the networks that vote?

The floor is the generator and the classifier, run as often as there are votes on inputs that are there already, in
passes of the size at which they are fastest. The certificate adds the prior of x, noise from each image's seed, the
features of its draws, looks for values that are not finite, and counting. No image abstains early.

    python tests/benchmarks/smoothing.py --json smoothing.json
    python tests/benchmarks/smoothing.py --cases SpatialCVAE --images 100 --repeats 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import compare, ratios, write
from torch import Tensor, nn

from augment import Digits
from cvae import ConvCVAE, SpatialCVAE
from perturbsets import LatentBall, Smoothed
from perturbsets.memory import keep_freed_memory
from perturbsets.models import SmallConvNet

TARGET = 1.10
SELECTION = 100
MODELS = {"SpatialCVAE": SpatialCVAE, "ConvCVAE": ConvCVAE}


def bare(ball: LatentBall, classifier: nn.Module, image: Tensor, votes: int, batch: int) -> Callable[[], None]:
    """Only the networks, in passes of one size."""
    model = ball.model
    with torch.no_grad():
        images = image.expand(batch, -1, -1, -1).contiguous()
        features = model.context(images)
        latents = model.prior(features).at(torch.randn(batch, model.latent))
        rest = torch.arange(votes % batch)
        last = images[rest], model.select(features, rest), latents[rest]

    @torch.no_grad()
    def run() -> None:
        for _ in range(votes // batch):
            classifier(model.generator(images, features, latents)).argmax(1)
        if len(rest):
            classifier(model.generator(*last)).argmax(1)

    return run


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of certificate and floor, at the pass size that is best for the floor."""
    torch.manual_seed(0)
    ball, classifier = LatentBall(MODELS[name](), 1.0), SmallConvNet().requires_grad_(False).eval()
    images, _ = Digits("test").batch(range(options.images))
    sizes = {f"{batch}": bare(ball, classifier, images[:1], 2048, batch) for batch in options.batches}
    speeds = {batch: median(seconds) / 2048 for batch, seconds in compare(sizes, 5).items()}
    best = int(min(speeds, key=speeds.__getitem__))

    def certify() -> None:
        draws = options.draws - SELECTION
        smoothed = Smoothed(classifier, ball, 0.5, batch=best)
        result = smoothed.certify(images, selection=SELECTION, draws=draws, generator=torch.Generator().manual_seed(0))
        assert bool((result.taken == draws).all()), "an image abstained early: less work than the floor's"

    votes = options.images * options.draws
    work = {"certificate": certify, "floor": bare(ball, classifier, images[:1], votes, best)}
    seconds = compare(work, options.repeats, warmup=min(1, options.repeats - 1))
    return {
        "batch": best,
        "microseconds_by_batch": {batch: 1e6 * speed for batch, speed in speeds.items()},
        "certificate_seconds": median(seconds["certificate"]),
        "floor_seconds": median(seconds["floor"]),
        **{f"ratio_{key}": value for key, value in ratios(seconds["certificate"], seconds["floor"]).items()},
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--draws", type=int, default=10_000, help=f"votes of each image, {SELECTION} of them to guess")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--cases", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    figures = {}
    print(f"{'seconds':16}{'pass':>6}{'certificate':>13}{'floor':>9}{'ratio':>8}{'quartiles':>15}")
    for name in options.cases:
        row = figures[name] = measure(name, options)
        print(
            f"{name:16}{row['batch']:6}{row['certificate_seconds']:13.2f}{row['floor_seconds']:9.2f}"
            f"{row['ratio_median']:8.3f}{row['ratio_quartile_1']:8.3f}-{row['ratio_quartile_3']:.3f}",
            flush=True,
        )
        print(
            "  microseconds a vote by pass: "
            + ", ".join(f"{b}: {s:.1f}" for b, s in row["microseconds_by_batch"].items())
        )
    print(f"ratio: certificate's seconds / floor's seconds, median of rounds; target at most {TARGET:.2f}")
    settings = {name: getattr(options, name) for name in ("images", "draws", "repeats", "batches", "threads")}
    write(options.json, settings | {"target": TARGET, "selection": SELECTION}, figures)


if __name__ == "__main__":
    main()
