"""Does the verdict on a learned set say what was done to it? Sets are made good and bad on purpose, and judged.

    python tests/benchmarks/verdicts.py --json verdicts.json
    python tests/benchmarks/verdicts.py --summaries tests/perturbsets/verdict_summaries.json

Pairs are digits of scikit-learn with known changes and, where the folder is given by ``--omniglot``, drawings of one
character by two people. All fits take a few hundred steps. ``--summaries`` stores what the rules read of each set, from
which their tests judge again without a fit.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import write
from torch import Tensor
from torch.nn.functional import interpolate

from augment import Brightness, Digits, SpatialChange
from cvae import CVAE, ConvCVAE, FitSettings, SpatialCVAE, fit
from perturbsets import LatentBall, NecessarySubset, radius_from_pairs
from perturbsets.criteria import SufficientLikelihood, encodings
from perturbsets.criteria.check import check_set
from perturbsets.criteria.fitted import fitted_figures
from perturbsets.criteria.verdict import GRADES, Verdict, judge
from perturbsets.memory import keep_freed_memory

SIDE, DIGIT = 16, 11
TESTED = 150  # held-out pairs
ROTATE = SpatialChange(rotation=45.0)
MOVE = SpatialChange(rotation=45.0, scale=(0.7, 1.3), shift=0.15)
QUICK = {"steps": 400, "batch": 32, "learning_rate": 3e-3, "validate_every": 50}
DROPPED = (
    "low",
    "high",
    "max",
    "excess",
    "encoding",
    "centre",
    "centre_largest",
    "norms",
    "groups",
    "worst",
    "labels",
    "theorems",
    "approximation",
    "related",
    "above_floor",
    "verdict",
)


@dataclass(frozen=True)
class Held:
    """Pairs in memory."""

    clean: Tensor
    changed: Tensor
    sources: Tensor

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.clean[index], self.changed[index]

    def batch(self, indices: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs at some positions."""
        rows = torch.as_tensor(indices)
        return self.clean[rows], self.changed[rows], self.sources[rows], torch.full((len(rows),), -1)

    def first(self, count: int) -> Held:
        """Its first pairs."""
        return Held(self.clean[:count], self.changed[:count], self.sources[:count])

    def shifted(self, share: float = 1.0) -> Held:
        """An evenly spread share of the pairs with the changed image of the next one, as after a file is missing."""
        rows = torch.arange(len(self))
        some = (rows % 10 < 10 * share).nonzero()[:, 0]
        rows[some] = some.roll(1)
        return replace(self, changed=self.changed[rows])


Splits = dict[str, Held]


def digits(change: Any, draws: int = 2) -> Splits:
    """Digits and changed versions of them."""
    splits = {}
    for number, split in enumerate(("train", "validation", "test")):
        images = Digits(split, size=SIDE, digit=DIGIT).images
        rows = torch.arange(len(images)).repeat(draws)
        generator = torch.Generator().manual_seed(number)
        parameters = change.draw(len(rows), generator=generator)
        splits[split] = Held(images[rows], change.apply(images[rows], parameters), rows)
    return splits


def drawings(file: Path) -> Splits:
    """Omniglot: a character drawn by one person, and by another."""
    stored = np.load(file)
    images = interpolate(torch.from_numpy(stored["images"]).float()[:, None], (SIDE, SIDE), mode="area")
    images = (2 * images).clamp(0, 1).unflatten(0, (-1, 20))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = {"train": order[:160], "validation": order[160:200], "test": order[200:]}

    def pairs(characters: Tensor) -> Held:
        own = images[characters]
        return Held(own[:, :10].flatten(0, 1), own[:, 10:].flatten(0, 1), characters.repeat_interleave(10))

    return {split: pairs(characters) for split, characters in parts.items()}


@dataclass(frozen=True)
class Case:
    """A set made on purpose.

    Attributes:
        made: What was done: ``"good"``, or the fault.
        grades: The grades that are right.
        knobs: The knobs that are right to be named first; any if empty.
        pairs: Its pairs.
        model: Its network.
        settings: Of the fit, over those of all.
        radius: Times the radius of the pairs.
    """

    made: str
    grades: tuple[str, ...]
    knobs: tuple[str, ...]
    pairs: Callable[[], Splits]
    model: Callable[[], CVAE]
    _: KW_ONLY
    settings: dict[str, Any] = field(default_factory=dict)
    radius: float = 1.0


def spatial(latent: int, **options: Any) -> Callable[[], CVAE]:
    """A spatial transformer."""
    return lambda: SpatialCVAE(1, SIDE, SIDE, latent=latent, **options)


def plain(latent: int, **options: Any) -> Callable[[], CVAE]:
    """Plain convolutions."""
    return lambda: ConvCVAE(1, SIDE, SIDE, latent=latent, **options)


def altered(splits: Splits, **changed: Callable[[Held], Held]) -> Splits:
    """Splits of which some are altered."""
    return {name: changed.get(name, lambda held: held)(held) for name, held in splits.items()}


def everywhere(splits: Splits, change: Callable[[Held], Held]) -> Splits:
    """Splits of which all are altered."""
    return {name: change(held) for name, held in splits.items()}


def cases(omniglot: Path | None) -> dict[str, Case]:
    """The sets by name."""
    bad = ("not good",)
    cases = {
        "rotation": Case("good", ("good", "usable"), (), lambda: digits(ROTATE), spatial(8)),
        "rotation, four latents": Case(
            "modest", ("usable",), ("latent", "steps"), lambda: digits(ROTATE), spatial(4, hidden=64)
        ),
        "rotation, size, place": Case("good", ("good", "usable"), (), lambda: digits(MOVE, 4), spatial(16)),
        "brightness": Case("good", ("good", "usable"), (), lambda: digits(Brightness((0.1, 0.5))), spatial(4)),
        "collapsed by beta": Case(
            "collapsed", bad, ("beta",), lambda: digits(ROTATE), spatial(8), settings={"beta": 300.0}
        ),
        "collapsed, plain network": Case(
            "collapsed", bad, ("beta",), lambda: digits(MOVE), plain(8), settings={"beta": 100.0}
        ),
        "one latent for four": Case("too small", bad, ("latent",), lambda: digits(MOVE, 4), spatial(1)),
        "network of width 2": Case(
            "too small", bad, ("network", "latent"), lambda: digits(MOVE, 4), plain(16, hidden=2, features=2)
        ),
        "20 steps": Case(
            "too few steps",
            bad,
            ("steps",),
            lambda: digits(MOVE),
            spatial(16),
            settings={"steps": 20, "validate_every": 2},
        ),
        "30 pairs": Case(
            "too few pairs",
            bad,
            ("pairs",),
            lambda: altered(digits(MOVE), train=lambda held: held.first(30)),
            plain(16),
        ),
        "misaligned": Case(
            "misaligned", bad, ("alignment",), lambda: everywhere(digits(ROTATE), Held.shifted), spatial(8)
        ),
        "misaligned, plain network": Case(
            "misaligned",
            bad,
            ("alignment",),
            lambda: everywhere(digits(ROTATE), Held.shifted),
            plain(32),
            settings={"beta": 0.1},
        ),
        "misaligned in half": Case(
            "misaligned",
            bad,
            (),  # means over such a mixture show the fault, not its cause
            lambda: everywhere(digits(ROTATE), lambda held: held.shifted(0.5)),
            spatial(8),
        ),
        "six times the radius": Case(
            "over-reaching", bad, ("quantile",), lambda: digits(MOVE), spatial(16), radius=6.0
        ),
        "copying": Case(
            "copying", bad, ("latent", "beta", "quantile"), lambda: digits(MOVE, 4), plain(64), settings={"beta": 0.001}
        ),
        "a fifth of the radius": Case("too tight", bad, ("quantile",), lambda: digits(MOVE), spatial(16), radius=0.2),
        "four judges": Case(
            "too few sources",
            ("usable", "not good"),
            ("pairs",),
            lambda: altered(digits(ROTATE), test=lambda held: held.first(4)),
            spatial(8),
        ),
    }
    if omniglot is not None:
        cases["drawings"] = Case("collapsed", bad, ("beta",), lambda: drawings(omniglot), plain(32))
    return cases


def measured(case: Case, seed: int = 0) -> dict[str, Any]:
    """The figures of a set, as the check stage of a run stores them."""
    torch.manual_seed(seed)
    splits, model = case.pairs(), case.model()
    settings = FitSettings(**{**QUICK, **case.settings}, seed=seed)
    records = fit(model, splits["train"], splits["validation"], settings)
    held = splits["validation"]
    norms, bank = encodings(model, held).norm(dim=1), encodings(model, splits["train"])
    radius = case.radius * radius_from_pairs(model, held)
    tested = splits["test"].first(TESTED)
    content, _ = check_set(
        LatentBall(model, radius, bank=bank),
        tested,
        necessary=NecessarySubset(30, restarts=2, curve=(0.25, 0.5, 0.75, 1.5)),
        sufficient=SufficientLikelihood(draws=64),
        generator=torch.Generator().manual_seed(seed),
    )
    content["radius"] = {"value": radius, "quantile": 1.0, "pairs": len(norms), "sources": len(held.sources.unique())}
    content["fitted"] = fitted_figures(model, splits["train"], records, batch=settings.batch)
    return content


def compact(value: Any) -> Any:
    """What the rules read, in four digits."""
    if isinstance(value, dict):
        return {
            name: compact(part)
            for name, part in value.items()
            if name not in DROPPED and not name.endswith(("_low", "_high"))
        }
    if isinstance(value, list):
        return [compact(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def told(name: str, case: Case, verdict: Verdict) -> dict[str, Any]:
    """A set, what was done to it, and what the verdict says; whether grade and first knob are right."""
    knob = verdict.advice[0].knob if verdict.advice else None
    return {
        "set": name,
        "made": case.made,
        "judged": verdict.grade,
        "knobs": [each.knob for each in verdict.advice],
        "right": verdict.grade in case.grades and (not case.knobs or knob in case.knobs),
        "reasons": [each.sentence for each in verdict.reasons],
    }


def confusion(rows: list[dict[str, Any]]) -> str:
    """The table of what sets were made as, against what they were judged as."""
    made = list(dict.fromkeys(row["made"] for row in rows))
    counts = Counter((row["made"], row["judged"]) for row in rows)
    lines = [f"{'made / judged':18}" + "".join(f"{grade:>10}" for grade in GRADES)]
    return "\n".join(lines + [f"{one:18}" + "".join(f"{counts[one, grade]:10}" for grade in GRADES) for one in made])


def main() -> None:
    """Makes, measures, judges, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of sets")
    parser.add_argument("--omniglot", type=Path, help="file of Omniglot, omniglot_background_small.npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summaries", type=Path, help="where what the rules read of each set goes, for the tests")
    parser.add_argument("--json", type=Path, help="where figures go")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)  # images are small: a second thread costs more than it brings
    rows, stored = [], {}
    began = time.process_time()
    for name, case in cases(options.omniglot).items():
        if options.only is None or name in options.only:
            content = measured(case, options.seed)
            rows.append(told(name, case, judge(content)))
            stored[name] = {"made": case.made, "grades": case.grades, "knobs": case.knobs, "checks": compact(content)}
            mark = "" if rows[-1]["right"] else "WRONG "
            print(f"{mark}{name}: made {case.made}, {rows[-1]['judged']}, turn {rows[-1]['knobs']}")
            print("".join(f"    {sentence}\n" for sentence in rows[-1]["reasons"]), end="", flush=True)
    print(confusion(rows))
    if options.summaries is not None:
        lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in stored.items())
        options.summaries.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    write(options.json, {"seed": options.seed}, {"cpu_seconds": time.process_time() - began, "sets": rows})


if __name__ == "__main__":
    main()
