"""Do our attacks turn as many images as those of other libraries, for as many model calls and as little time?

Every library attacks the same images of one robust classifier of MNIST with the same budget, from several seeds.
What it returns is judged by the same code: an image counts as turned if it is misclassified and inside ball and bounds.
Model calls are images that passed forward and backward. The floor of the seconds is the calls of the budget alone:
input-gradient passes through frozen networks at fixed points, and a forward pass more; the square attack's is its
queries. "ours" drops images that reached the goal, "ours, none dropped" never does.

Libraries that are not installed are left out: `pip install -e ".[benchmarks]"` brings them.

    python tests/benchmarks/against.py --json against.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
import torch.nn.functional as F
from counted import Counted, Verdict, judge
from opponents import Task, implementations
from robust_digits import robust_digits
from timing import compare, ratios, write
from torch import Tensor, nn
from torchvision.models import resnet18

from augment import MNIST
from perturbsets.memory import keep_freed_memory

WEAKER, COST = 0.3, 1.05  # percentage points above theirs; seconds of PGD over the floor's
LIBRARIES = ("torchattacks", "foolbox")


def floor(classifier: nn.Module, x: Tensor, y: Tensor, task: Task) -> Callable[[], None]:
    """The model calls of the budget alone, at fixed points."""
    forward, backward = task.calls

    def run() -> None:
        for _ in range(backward):
            u = x.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(classifier(u), y, reduction="sum"), u)
        with torch.no_grad():
            for _ in range(forward - backward):
                classifier(x)

    return run


def strength(task: Task, model: nn.Module, x: Tensor, y: Tensor, seeds: int) -> dict[str, list[Verdict]]:
    """Verdicts of every library, one a seed."""
    verdicts: dict[str, list[Verdict]] = {}
    for name, attack in implementations(task).items():
        if name == "ours, none dropped":  # the same flags as with dropping, at a higher cost
            continue
        for seed in range(seeds):
            counted = Counted(model)
            changed = attack(counted, x, y, seed)
            verdicts.setdefault(name, []).append(judge(counted, x, y, changed, task.norm, task.radius))
    return verdicts


def cost(task: Task, model: nn.Module, x: Tensor, y: Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of every library, and their ratio to the floor."""
    frozen = Counted(model)
    work: dict[str, Callable[[], object]] = {"floor": floor(frozen, x, y, task)}
    for name, attack in implementations(task).items():
        work[name] = partial(attack, frozen, x, y, 0)
    seconds = compare(work, repeats)
    return {
        name: {"seconds": median(each), **{f"ratio_{key}": value for key, value in over.items()}}
        for name, each in seconds.items()
        if name != "floor"
        for over in [ratios(each, seconds["floor"])]
    }


def rows(
    verdicts: dict[str, list[Verdict]], costs: dict[str, dict[str, float]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Figures of each library."""
    for name, timed in costs.items():
        row: dict[str, Any] = dict(timed)
        if name in verdicts:
            each = verdicts[name]
            row |= {
                "robust": mean(judged.robust for judged in each),
                "forward": mean(judged.forward for judged in each),
                "backward": mean(judged.backward for judged in each),
                "seeds": [asdict(judged) for judged in each],
            }
        yield name, row


def show(row: dict[str, Any]) -> str:
    """The figures of a line."""
    text = " " * 33
    if "robust" in row:
        text = f"{row['robust']:9.2f}{sum(one['invalid'] for one in row['seeds']):8}"
        text += f"{row['forward']:8.1f}{row['backward']:8.1f}"
    text += f"{row['ratio_median']:8.3f}{row['ratio_quartile_1']:8.3f}-{row['ratio_quartile_3']:.3f}  "
    return text + " ".join(f"{one['robust']:.1f}" for one in row.get("seeds", []))


def targets(figures: dict[str, dict[str, dict[str, Any]]]) -> Iterator[tuple[bool, str]]:
    """Whether each target is met, and in what words."""
    for task, found in figures.items():
        mine = found["ours"]
        for library in (name for name in LIBRARIES if "robust" in found.get(name, {})):
            theirs = found[library]
            lead = mine["robust"] - theirs["robust"]
            yield lead <= WEAKER, f"{task}: robust {lead:+.2f} points beside {library}, at most {WEAKER:+}"
            calls, most = (row["forward"] + row["backward"] for row in (mine, theirs))
            yield calls < most, f"{task}: {calls:.1f} calls an image, fewer than the {most:.1f} of {library}"
        if task.startswith("PGD"):
            ratio = found["ours, none dropped"]["ratio_median"]
            yield ratio <= COST, f"{task}: {ratio:.3f} of the floor's seconds, at most {COST}"


def installed(name: str) -> str | None:
    """Version of a library, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--radius", type=float, default=0.2, help="of the L-inf ball; ten times that in L2")
    parser.add_argument("--steps", type=int, default=50, help="of APGD, for each target; PGD takes 40")
    parser.add_argument("--queries", type=int, default=500, help="of the square attack")
    parser.add_argument("--timed", type=int, default=128, help="images that are timed; an eighth of them for ResNet-18")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; a third of them for targeted APGD")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--root", default="data/mnist", help="folder of MNIST")
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    libraries = {name: installed(name) for name in LIBRARIES}
    for name in (name for name, found in libraries.items() if found is None):
        print(f"{name} is not installed: left out")
    model = robust_digits(options.root)
    x, y = MNIST("test", options.root).batch(range(options.images))
    linf, l2 = options.radius, 10 * options.radius
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    print(f"{'':34}{'robust':>9}{'invalid':>8}{'forward':>8}{'back':>8}{'ratio':>8}{'quartiles':>14}   of each seed")

    def report(name: str, found: Iterator[tuple[str, dict[str, Any]]]) -> None:
        print(name)
        for library, row in found:
            figures.setdefault(name, {})[library] = row
            print(f"  {library:32}{show(row)}", flush=True)

    for task in (
        Task("PGD", "linf", linf, 40),
        Task("PGD", "l2", l2, 40),
        Task("APGD-CE", "linf", linf, options.steps),
        Task("APGD-CE", "l2", l2, options.steps),
        Task("APGD-T", "linf", linf, options.steps),
        Task("Square", "linf", linf, options.queries),
    ):
        repeats = max(1, options.repeats // 3) if task.kind == "APGD-T" else options.repeats
        costs = cost(task, model, x[: options.timed], y[: options.timed], repeats)
        report(task.name, rows(strength(task, model, x, y, options.seeds), costs))
    torch.manual_seed(0)
    count = options.timed // 8
    colour, classes = torch.rand(count, 3, 32, 32), torch.randint(10, (count,))
    large = Task("PGD", "linf", linf, 10)
    report(
        f"{large.name}, ResNet-18", rows({}, cost(large, resnet18(num_classes=10), colour, classes, options.repeats))
    )
    print("robust: % of images, mean over seeds; forward, back: passes an image; ratio: seconds over the floor's")
    for met, words in targets(figures):
        print("pass" if met else "FAIL", words)
    settings = {name: getattr(options, name) for name in ("images", "seeds", "radius", "steps", "queries", "timed")}
    settings |= {"repeats": options.repeats, "threads": options.threads, "libraries": libraries}
    write(options.json, settings | {"weaker": WEAKER, "cost": COST}, figures)


if __name__ == "__main__":
    main()
