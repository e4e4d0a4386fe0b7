"""What attacks on labels are measured by: the images, what the auxiliary classifier predicts, what attacks return."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from augment import MultiLabelSource, group_numbers
from cvae import derive_seed
from perturbsets._types import Flags, Images, Rows, States
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.intervals import independent, share_interval
from perturbsets.label_states import target_labels
from perturbsets.model_call import logits, preserve_state
from perturbsets.multi_label import MultiLabelObjective, flips, multi_label_scores, success_at_k, target_outcomes
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder


class Attacked(NamedTuple):
    """What an attack made of some images.

    Attributes:
        rows: Which of the test images.
        images: The changed ones.
        reached: Whether the goal is reached.
        calls: Forward passes on each; ``None`` where the change was found on other images.
        seconds: Time for all of them; likewise.
    """

    rows: Rows
    images: Images
    success: Flags
    calls: Tensor | None
    seconds: float | None


class LabelBench:
    """Test images, and the auxiliary classifier that sees their labels: what is measured of every attack on them.

    Args:
        recipe: Has a section on labels.
        run: Where the auxiliary classifier and learned sets are.
        device: Where to work.

    Attributes:
        arrays: What the report draws; entries fill it.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, device: torch.device) -> None:
        assert recipe.labels is not None  # or the recipe has no such stage
        self.recipe, self.settings, self.device = recipe, recipe.labels, device
        self.data: MultiLabelSource = build.labelled(recipe, "test")
        self.names = list(self.data.label_names)
        self.sets = build.perturbation_sets(recipe, run)
        self.model = build.helpers(recipe, run, device)[0]
        order = torch.randperm(len(self.data), generator=self.generator("test images"))[: self.settings.images]
        self.images = self.data.batch(order.tolist())[0].to(device)
        self.states = self.data.states(order.tolist()).to(device)
        self.groups = group_numbers(self.data)[order]
        self.logits = self._logits(self.images)
        self.arrays: dict[str, Tensor] = {}

    def about(self) -> dict[str, Any]:
        """What is attacked, and how well it knows the labels of clean images."""
        return {
            "labels": self.names,
            "classes": list(self.data.classes),
            "images": len(self.images),
            "independent": independent(len(self.images), self.groups),
            "seed": self.recipe.seeds[0],
            "top": self.settings.top,
            "scores": multi_label_scores(self.logits, self.states, self.groups).summary(),
        }

    def standing(self, objective: MultiLabelObjective, wanted: States) -> Rows:
        """Images of which an objective asks something that the clean one does not show already."""
        rows = objective.attainable(wanted).nonzero()[:, 0]
        return rows[~self.success(objective, self.images[rows], wanted[rows])]

    def success(self, objective: MultiLabelObjective, images: Images, wanted: States) -> Flags:
        """Whether images reach an objective's goal."""
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        nowhere = images.new_zeros(len(images), 0)
        with preserve_state(self.model, self.device), torch.no_grad():
            return objective.at(self.model, images, wanted)(images, nowhere)[1]

    def entry(self, name: str, attacked: Attacked, asked: States | None, *, found_only: bool = False) -> dict[str, Any]:
        """What came of an attack, as plain values; norms perhaps of the images where it was successful alone."""
        rows, count = attacked.rows, len(attacked.rows)
        if not count:
            return {"images": 0}
        logits = self._logits(attacked.images)
        before, after = self.logits[rows] > 0, logits > 0
        change = (attacked.images - self.images[rows]).flatten(1)
        change = change[attacked.success] if found_only else change
        every = self.logits.index_copy(0, rows, logits)
        shown = slice(self.settings.shown)
        self.arrays |= {
            f"{name}/clean": self.images[rows[shown]],
            f"{name}/images": attacked.images[shown],
            f"{name}/before": before[shown],
            f"{name}/after": after[shown],
        }
        some, groups = bool((self.states[rows] == 1).any()), self.groups[rows.cpu()]
        return {
            "images": count,
            "asked": None if asked is None else self._words(asked),
            "success": share_interval(attacked.success, groups)._asdict(),
            "targeted": None if asked is None else target_outcomes(before, after, asked[rows], groups).summary(),
            "flips": flips(before, after, groups).summary(),
            "norms": {
                "l2": float(change.norm(dim=1).mean()) if len(change) else None,
                "linf": float(change.abs().amax(1).mean()) if len(change) else None,
            },
            "calls": None if attacked.calls is None else float(attacked.calls.cpu().double().mean()),
            "seconds": None if attacked.seconds is None else attacked.seconds / count,
            "scores": multi_label_scores(every, self.states, self.groups).summary(),
            "success_at_k": (
                success_at_k(logits, self.states[rows], self.settings.top, groups)._asdict() if some else None
            ),
        }

    def asked(self, section: Any) -> States:
        """What is asked of each image: NaN where nothing is."""
        return target_labels(torch.full_like(self.states, float("nan")), **self._numbers(section))

    def pattern(self, section: Any) -> States:
        """The states predicted, but for those asked for."""
        return target_labels((self.logits > 0).to(self.states), **self._numbers(section))

    def _numbers(self, section: Any) -> dict[str, list[int]]:
        return {key: [self.names.index(name) for name in getattr(section, key)] for key in ("hide", "show")}

    def _words(self, asked: States) -> dict[str, list[str]]:
        """Names of the labels to hide and to show, which are the same for every image."""
        return {
            key: [name for name, state in zip(self.names, asked[0].tolist(), strict=True) if state == wanted]
            for key, wanted in (("hide", 0), ("show", 1))
        }

    def _logits(self, images: Images) -> Tensor:
        with preserve_state(self.model, self.device), torch.no_grad():
            return torch.cat([logits(self.model, part) for part in images.split(BATCH)])

    def generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.recipe.seed, "labels", name))
