"""Judging the classifiers of a run: accuracies, audits, pictures, and the fixed ensemble."""

from __future__ import annotations

import math
from typing import Any

import safetensors.torch
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from torch import Tensor

from cvae import Pretrained, derive_seed
from cvae.files import atomic_file
from perturbsets import evaluation
from perturbsets._types import Images
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import APGD, GridSearch, RandomSearch
from perturbsets.criteria.pairs import Pairs
from perturbsets.evaluation import Audit
from perturbsets.evaluation.robustness import ROBUST
from perturbsets.intervals import ends
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder
from perturbsets.sets import LatentBall, PerturbationSet

MARKS = {True: "✓", False: "✗"}
PLAIN = "perturbsets.StandardTraining"  # the method whose classifier's examples the audit carries over
KNOWN = {
    "clean": "clean images",
    "changed": "real changes",
    "samples": "samples",
    "worst": "images in the worst case found",
}
ENSEMBLE = "ensemble"
MOST_COLUMNS = 6  # of attacks in 80 characters, beyond which they stand in rows


class Bench:
    """The classifiers and test images of a run.

    Args:
        recipe: The recipe.
        run: Where results go.
        sets: The recipe's sets by name.
        models: The classifiers by name, one per seed.
        images: Test images.
        labels: Their classes.
        groups: Number of each image's independent unit.
        console: Where tables are shown.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        sets: dict[str, PerturbationSet],
        models: dict[str, list[Pretrained]],
        images: Images,
        labels: Tensor,
        groups: Tensor,
        console: Console,
    ) -> None:
        self.recipe, self.run, self.models, self.console = recipe, run, models, console
        self.images, self.labels, self.groups = images, labels, groups
        self.sets, self.control = sets, recipe.evaluate.control
        self.adversaries = {name: build.adversary(part, sets) for name, part in recipe.adversaries.items()}

    def accuracies(self) -> None:
        """The table of every classifier under every adversary."""
        adversaries: dict[str, Any] = {"clean": None, **self.adversaries}
        with Progress(console=self.console) as bar:
            task = bar.add_task("evaluate", total=len(self.models) * len(adversaries) * len(self.recipe.seeds))
            table = evaluation.evaluate(
                self.models,
                adversaries,
                self.images,
                self.labels,
                groups=self.groups,
                generator=self._generator("evaluate"),
                advance=lambda: bar.advance(task),
            )
        descriptions = {name: _described(section) for name, section in self.recipe.adversaries.items()}
        content = {
            **table.summary(),
            "seeds": self.recipe.seeds,
            "descriptions": {"clean": "no adversary", **descriptions},
        }
        if self.control is not None:
            content["differences"] = table.differences(self.control)
        self._write("correct", {f"{row}/{column}": flags for (row, column), flags in table.correct.items()})
        self.run.write_json("evaluation/evaluation.json", content)
        cells = {
            (row, column): f"{100 * c.mean:.1f}\n{ends(c.low, c.high, lambda share: f'{100 * share:.0f}', '-')}"
            for row in table.rows
            for column in table.columns
            for c in [table.accuracy(row, column)]
        }
        self.console.print(_table("accuracy in %\n95 % interval", cells))

    def audits(self) -> None:
        """The audit of every search for the worst, the ensemble's among them, on every classifier's first seed."""
        settings, ensemble = self.recipe.evaluate.audit, self.recipe.evaluate.robustness
        searches = dict(self.adversaries)
        if ensemble is not None:
            climb = APGD(ensemble.steps, stop_on_success=True)
            searches |= {f"{name}: apgd-ce": Adversary(self.sets[name], ascent=climb) for name in ensemble.sets}
        audited = {name: adversary for name, adversary in searches.items() if _auditable(adversary)}
        plain = next((name for name, method in build.methods(self.recipe).items() if method == PLAIN), None)
        results: dict[str, dict[str, Audit]] = {name: {} for name in self.models}
        with Progress(console=self.console) as bar:
            for name in bar.track(list(self.models), description="audit"):
                for column, adversary in audited.items():
                    results[name][column] = evaluation.audit(
                        adversary,
                        self.models[name][0],
                        self.images[: settings.images],
                        self.labels[: settings.images],
                        plain=None if plain in (None, name) else self.models[plain][0],
                        groups=self.groups[: settings.images],
                        draws=settings.draws,
                        generator=self._generator("audit"),
                    )
        content = {row: {column: found.summary() for column, found in cells.items()} for row, cells in results.items()}
        self.run.write_json("evaluation/audits.json", {"images": len(self.images[: settings.images]), "rows": content})
        if not audited:
            return
        marks = {(row, column): _marked(found) for row, cells in results.items() for column, found in cells.items()}
        self.console.print(_table("audit\nlines passed", marks))
        for row, cells in results.items():
            for column, found in cells.items():
                for check in found.failures:
                    self.console.print(f"{row} under {column}: {check}", highlight=False)

    def pictures(self, classes: Any) -> None:
        """What each adversary makes of some images that the first classifier has right."""
        row, model = next((name, models[0]) for name, models in self.models.items())
        right = evaluation.correct_under(model, None, self.images, self.labels).nonzero()[:, 0]
        rows = right[: self.recipe.evaluate.shown]
        x, y = self.images[rows], self.labels[rows]
        made = {"clean": x, "labels": y}
        for name, adversary in self.adversaries.items() if len(rows) else ():
            generator = self._generator("pictures")
            found = adversary(model, x, y, generator=generator).images
            made |= {f"{name}/images": found, f"{name}/predictions": evaluation.predictions(model, found)}
        self._write("pictures", made)
        self.run.write_json("evaluation/pictures.json", {"classifier": row, "classes": list(classes)})

    def labels_kept(self, learned: LatentBall, pairs: Pairs) -> None:
        """Whether members of the learned set keep their labels, as one of the classifiers sees it."""
        name = self.recipe.evaluate.reference or list(self.models)[-1]
        measure = self.recipe.check.overapproximation.make()
        generator = self._generator("labels")
        found = measure(learned, pairs, reference=self.models[name][0], generator=generator).summary()["labels"]
        self.run.write_json("evaluation/labels.json", {"classifier": name, **found})
        shares = ", ".join(f"{found[kind]['mean']:.1%} of {words}" for kind, words in KNOWN.items())
        self.console.print(f"labels of the learned set's members: {name} knows {shares}", highlight=False)

    def robustness(self, settings: Any) -> None:
        """Robust accuracy under the fixed ensemble, for every classifier and seed."""
        chosen = {name: self.sets[name] for name in settings.sets}
        images, labels, groups = (part[: settings.images] for part in (self.images, self.labels, self.groups))
        content: dict[str, list[Any]] = {}
        robust: dict[tuple[str, str], Tensor] = {}
        shown = Table("ensemble", "seed", "clean in %", "robust in %", "95 % interval", "broken by")
        for row, models in self.models.items():
            flags = []
            for seed, model in zip(self.recipe.seeds, models, strict=True):
                result = evaluation.evaluate_robustness(
                    model,
                    images,
                    labels,
                    chosen,
                    steps=settings.steps,
                    queries=settings.queries,
                    targets=settings.targets,
                    groups=groups,
                    folder=self.run.path / "evaluation" / "robustness" / row / str(seed),
                    generator=self._generator("robustness"),
                    progress=not self.console.quiet,
                )
                content.setdefault(row, []).append({"seed": seed, **result.summary()})
                flags.append(result.broken_by == ROBUST)
                mean, low, high = result.accuracy
                between = ends(low, high, lambda share: f"{100 * share:.1f}", "-")
                broken = "\n".join(f"{member}: {count}" for member, count in result.broken.items())
                shown.add_row(row, str(seed), f"{100 * result.clean.mean:.1f}", f"{100 * mean:.1f}", between, broken)
            robust[row, ENSEMBLE] = torch.stack(flags)
        table = evaluation.AccuracyTable(robust, groups)
        pooled = {row: table.accuracy(row, ENSEMBLE)._asdict() for row in table.rows}
        found = {"sets": settings.sets, "pooled": pooled, "rows": content}
        if self.control is not None:
            found["differences"] = table.differences(self.control)
        self.run.write_json("evaluation/robustness.json", found)
        self.console.print(shown)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.recipe.seed, name))

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        with atomic_file(self.run.path / "evaluation" / f"{name}.safetensors") as file:
            safetensors.torch.save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, file)


def _auditable(adversary: Adversary) -> bool:
    """Whether it climbs: a fixed number of draws or points is no search for the worst, and says so by its name."""
    unlimited = math.isinf(getattr(adversary.perturbations, "radius", 0.0))
    return not unlimited and not isinstance(adversary.ascent, RandomSearch | GridSearch)


def _table(corner: str, cells: dict[tuple[str, str], str]) -> Table:
    """Classifiers in rows and attacks in columns, or the other way round where there are many attacks."""
    rows, columns = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    if len(columns) > MOST_COLUMNS:
        rows, columns, cells = columns, rows, {(column, row): cell for (row, column), cell in cells.items()}
    shown = Table(Column(corner, no_wrap=True), *(Column(name, overflow="fold") for name in columns))
    for row in rows:
        shown.add_row(row, *(cells[row, column] for column in columns))
    return shown


def _marked(found: Audit) -> str:
    passed = sum(check.passed is True for check in found.checks)
    return f"{MARKS[found.passed]} {passed} of {passed + len(found.failures)}"


def _described(section: Any) -> str:
    """An adversary in words: its set, its objective unless cross-entropy, and its ascent with the settings given."""
    words = [part.described() for part in (section.objective, section.ascent)]
    return f"{section.set}: {', '.join(word for word in words if word != 'CrossEntropy()')}"
