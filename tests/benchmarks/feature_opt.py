"""Is the batched feature adversary as near as SciPy's, and how much faster for a pair?

Both take the same pairs, box, network, type and number of threads: ours all pairs in one batch, SciPy's L-BFGS-B one
pair after the other, which is all that it can do, with gradients by the same network. SciPy stops by its own
settings; "SciPy, early" stops where one step lowers the squared ratio by less than ours may, which is sooner than it
needs. Ratios are d(adversary, guide) / d(source, guide). The network is random.

    python tests/benchmarks/feature_opt.py --threads 1 --json feature_opt.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from timing import compare, ratios, write
from torch import Tensor, nn

from perturbsets.memory import keep_freed_memory
from perturbsets.representations import feature_opt
from perturbsets.representations.attacks import TOLERANCE

FASTER, NEAR = 4.0, 1.01  # times SciPy's speed; of SciPy's mean ratio
LAYERS = {"3": "second convolution", "5": "third convolution", "8": "linear"}


def network(dtype: torch.dtype) -> nn.Sequential:
    """Three convolutions and two linear layers for 3 x 32 x 32, frozen."""
    torch.manual_seed(0)
    layers = [
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 10)),
    ]
    return nn.Sequential(*layers).to(dtype).eval().requires_grad_(False)


def ours(model: nn.Module, layer: str, sources: Tensor, guides: Tensor, radius: float) -> Tensor:
    """Ratios of a batch."""
    return (-feature_opt(layer, radius=radius)(model, sources, guides).loss).sqrt()


def of_scipy(
    layers: nn.Module, sources: Tensor, guides: Tensor, radius: float, options: dict[str, float]
) -> tuple[Tensor, float]:
    """Ratios, and how often the network was asked for a pair."""
    found, calls = [], 0
    for source, guide in zip(sources, guides, strict=True):
        near = layers(guide[None])
        unit = (layers(source[None]) - near).square().sum()

        def look(pixels: Any, near: Tensor = near, unit: Tensor = unit) -> tuple[float, Any]:
            x = torch.from_numpy(pixels).to(sources).view(1, *sources.shape[1:]).requires_grad_()
            value = (layers(x) - near).square().sum() / unit
            return value.item(), torch.autograd.grad(value, x)[0].double().numpy().ravel()

        start = source.double().numpy().ravel()
        bounds = np.stack([np.maximum(start - radius, 0), np.minimum(start + radius, 1)], 1)
        result = minimize(
            look, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "maxfun": 5000} | options
        )
        found.append(result.fun**0.5)
        calls += result.nfev
    return torch.tensor(found, dtype=torch.float64), calls / len(sources)


def measure(layer: str, options: argparse.Namespace) -> dict[str, Any]:
    """Ratios of distances and seconds of a layer."""
    dtype = getattr(torch, options.dtype)
    model, radius = network(dtype), options.radius / 255
    sources, guides = torch.rand(2, options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    mine = partial(ours, model, layer, sources, guides, radius)
    theirs = partial(of_scipy, model[: int(layer) + 1], sources, guides, radius)
    found = feature_opt(layer, radius=radius)(model, sources, guides)
    row: dict[str, Any] = {"ours": {"calls": float(found.calls.double().mean())}}
    work: dict[str, Callable[[], object]] = {"ours": mine}
    distances = {"ours": mine().double()}
    for name, settings in {"SciPy": {}, "SciPy, early": {"ftol": TOLERANCE}}.items():
        distances[name], calls = theirs(settings)
        row[name] = {"calls": calls}
        work[name] = partial(theirs, settings)
    seconds = compare(work, options.repeats, warmup=0)
    for name, each in row.items():
        relative = distances["ours"] / distances[name]
        each["ratio_mean"] = float(distances[name].mean())
        each["ours_over_it"] = float(distances["ours"].mean() / distances[name].mean())
        each["pairs_quantiles"] = relative.quantile(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).double()).tolist()
        each["milliseconds_per_pair"] = 1e3 * median(seconds[name]) / options.batch
        each |= {f"speed_{key}": value for key, value in ratios(seconds[name], seconds["ours"]).items()}
    return row


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--radius", type=float, default=10, help="in 255ths")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    figures = {}
    print(
        f"{'':34}{'ratio':>8}{'calls':>7}{'ms/pair':>9}{'over ours':>12}{'ours/it':>12}   of pairs 0, 10, 50, 90, 100 %"
    )
    for layer, words in LAYERS.items():
        figures[words] = measure(layer, options)
        for name, row in figures[words].items():
            pairs = " ".join(f"{value:.4f}" for value in row["pairs_quantiles"])
            print(
                f"{words:20}{name:14}{row['ratio_mean']:8.4f}{row['calls']:7.1f}{row['milliseconds_per_pair']:9.2f}"
                f"{row['speed_median']:12.2f}{row['ours_over_it']:12.5f}   {pairs}",
                flush=True,
            )
    for words, rows in figures.items():
        row = rows["SciPy"]
        near, fast = row["ours_over_it"] <= NEAR, row["speed_median"] >= FASTER
        print("pass" if near else "FAIL", f"{words}: {row['ours_over_it']:.4f} of SciPy's ratio, at most {NEAR}")
        print(
            "pass" if fast else "FAIL", f"{words}: {row['speed_median']:.1f} times SciPy's speed, at least {FASTER:.0f}"
        )
    settings = {name: getattr(options, name) for name in ("batch", "radius", "dtype", "repeats", "threads")}
    write(options.json, settings | {"tolerance": TOLERANCE, "faster": FASTER, "near": NEAR}, figures)


if __name__ == "__main__":
    main()
