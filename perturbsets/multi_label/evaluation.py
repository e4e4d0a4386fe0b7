"""Evaluating attacks on the labels of a multi-label classifier: adversaries, least changes, universal changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from augment import MultiLabelSource
from cvae import derive_seed
from perturbsets._types import Flags, Images, Rows, States
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.universal import find_universal
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.intervals import independent, share_interval
from perturbsets.label_states import target_labels
from perturbsets.model_call import initial_seed, preserve_state
from perturbsets.multi_label.data import label_logits
from perturbsets.multi_label.deepfool import multi_label_deepfool
from perturbsets.multi_label.flips import flips, success_at_k, target_outcomes
from perturbsets.multi_label.linear_programme import label_linear_programme
from perturbsets.multi_label.objectives import BinaryCrossEntropy, MultiLabelObjective
from perturbsets.multi_label.scores import multi_label_scores
from perturbsets.sets import PerturbationSet


class LabelAttackResult(NamedTuple):
    """Adversarial images for some rows; calls and seconds are ``None`` for a change found on other images."""

    rows: Rows
    images: Images
    success: Flags
    calls: Tensor | None
    seconds: float | None


class LabelEvaluation:
    """Attacks on the labels of a multi-label classifier, and measures of each as plain values.

    An attack gets the images of which its objective can ask something that the prediction does not have already.

    Args:
        model: The classifier; a label is on where its logit is above 0.
        images: Test images.
        states: States of their labels.
        names: Names of the labels.
        groups: Number of each image's independent unit.
        top: Number k of top labels in success@k.
        shown: Number of images in :attr:`arrays`.
        generator: Gives the seed of all draws, its initial one (0 without a generator).

    Attributes:
        arrays: Clean and adversarial images of each attack with the labels predicted before and after it.

    Example:
        >>> from perturbsets import PixelBall, ProjectedGradient
        >>> from perturbsets.models import SmallConvNet
        >>> model, images = SmallConvNet(1, 8, 8, classes=3), torch.rand(20, 1, 8, 8)
        >>> evaluation = LabelEvaluation(model, images, (model(images) > 0).float(), ["a", "b", "c"])
        >>> adversary = Adversary(PixelBall("linf", 0.1), BinaryCrossEntropy(), ProjectedGradient(3))
        >>> sorted(evaluation.attack("pgd", adversary))[:4]
        ['asked', 'calls', 'flips', 'images']
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        states: States,
        names: Sequence[str],
        *,
        groups: Tensor | None = None,
        top: int = 1,
        shown: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.images, self.states, self.names = model, images, states, list(names)
        self.groups = torch.arange(len(images)) if groups is None else groups
        self.top, self.shown = top, shown
        self.seed = initial_seed(generator)
        self.logits = label_logits(model, images)
        self.arrays: dict[str, Tensor] = {}

    def clean(self) -> dict[str, Any]:
        """Number of images and scores of the classifier on clean ones."""
        return {
            "images": len(self.images),
            "independent": independent(len(self.images), self.groups),
            "top": self.top,
            "scores": multi_label_scores(self.logits, self.states, self.groups).summary(),
        }

    def attack(
        self, name: str, adversary: Adversary, *, hide: Sequence[str] = (), show: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Attacks by an adversary with a multi-label objective; a targeted one needs labels to hide or to show."""
        assert isinstance(adversary.objective, MultiLabelObjective)
        targets = self._targets(hide, show)
        wanted = self.states if targets is None else self._wanted(targets)
        rows = self._attackable(adversary.objective, wanted)
        generator, begun = self._generator(name), time.perf_counter()
        results = [
            adversary.select(part)(self.model, self.images[part], wanted[part], generator=generator)
            for part in rows.split(BATCH)
        ]
        images, success, calls = (
            torch.cat([getattr(part, key) for part in results]) for key in ("images", "success", "calls")
        )
        result = LabelAttackResult(rows, images, success, calls, time.perf_counter() - begun)
        return self._measure(name, result, targets)

    def least_changes(
        self, *, hide: Sequence[str] = (), show: Sequence[str] = (), images: int = 32, steps: int = 20
    ) -> dict[str, Any]:
        """The least changes that give the target labels and leave the others, by DeepFool and linear programmes."""
        targets = self._targets(hide, show)
        assert targets is not None
        wanted = self._wanted(targets)
        rows = self._attackable(BinaryCrossEntropy(targeted=True), wanted)[:images]
        searches: dict[str, Callable[..., Any]] = {
            "deepfool": multi_label_deepfool,
            "linear-programme-linf": partial(label_linear_programme, norm="linf"),
            "linear-programme-l1": partial(label_linear_programme, norm="l1"),
        }
        content = {}
        for name, search in searches.items():
            begun = time.perf_counter()
            least = search(self.model, self.images[rows], wanted[rows], steps=steps)
            seconds = time.perf_counter() - begun
            result = LabelAttackResult(rows, least.images, least.radii.isfinite(), least.calls, seconds)
            content[name] = self._measure(name, result, targets, norms_of_success=True)
        return content

    def universal(
        self,
        name: str,
        perturbations: PerturbationSet,
        objective: MultiLabelObjective,
        training: MultiLabelSource,
        *,
        images: int = 1024,
        epochs: int = 10,
    ) -> dict[str, Any]:
        """Attacks by one change for all images, found on training images."""
        order = torch.randperm(len(training), generator=self._generator(name))
        order = order[objective.attainable(training.states(order.tolist()))][:images]
        change = find_universal(
            perturbations,
            objective,
            self.model,
            training.batch(order.tolist())[0].to(self.images.device),
            training.states(order.tolist()).to(self.images.device),
            epochs=epochs,
            generator=self._generator(name),
        )
        rows = self._attackable(objective, self.states)
        changed = change.images(self.images[rows])
        success = self._success(objective, changed, self.states[rows])
        return self._measure(name, LabelAttackResult(rows, changed, success, None, None), None)

    def _attackable(self, objective: MultiLabelObjective, wanted: States) -> Rows:
        """Rows of images of which an objective can ask something that the clean one does not have already."""
        rows = objective.attainable(wanted).nonzero()[:, 0]
        return rows[~self._success(objective, self.images[rows], wanted[rows])]

    def _success(self, objective: MultiLabelObjective, images: Images, wanted: States) -> Flags:
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        with preserve_state(self.model, images.device), torch.no_grad():
            return objective.at(self.model, images, wanted)(images, images.new_zeros(len(images), 0))[1]

    def _targets(self, hide: Sequence[str], show: Sequence[str]) -> States | None:
        """The target state of each label, NaN where it has none; ``None`` without target labels."""
        if not (hide or show):
            return None
        off, on = ([self.names.index(name) for name in names] for names in (hide, show))
        return target_labels(torch.full_like(self.states, float("nan")), hide=off, show=on)

    def _wanted(self, targets: States) -> States:
        """The predicted states, but for target labels."""
        return torch.where(targets.isnan(), (self.logits > 0).to(targets), targets)

    def _measure(
        self, name: str, result: LabelAttackResult, targets: States | None, *, norms_of_success: bool = False
    ) -> dict[str, Any]:
        """The measures of an attack; norms perhaps of successful changes alone."""
        rows, count = result.rows, len(result.rows)
        if not count:
            return {"images": 0}
        logits = label_logits(self.model, result.images)
        before, after = self.logits[rows] > 0, logits > 0
        change = (result.images - self.images[rows]).flatten(1)
        change = change[result.success] if norms_of_success else change
        shown = slice(self.shown)
        self.arrays |= {
            f"{name}/clean": self.images[rows[shown]],
            f"{name}/images": result.images[shown],
            f"{name}/before": before[shown],
            f"{name}/after": after[shown],
        }
        some, groups = bool((self.states[rows] == 1).any()), self.groups[rows.cpu()]
        every = self.logits.index_copy(0, rows, logits)
        asked = targeted = None
        if targets is not None:
            named = list(zip(self.names, targets[0].tolist(), strict=True))
            asked = {key: [label for label, state in named if state == on] for key, on in (("hide", 0), ("show", 1))}
            targeted = target_outcomes(before, after, targets[rows], groups).summary()
        return {
            "images": count,
            "asked": asked,
            "success": share_interval(result.success, groups)._asdict(),
            "targeted": targeted,
            "flips": flips(before, after, groups).summary(),
            "norms": {
                "l2": float(change.norm(dim=1).mean()) if len(change) else None,
                "linf": float(change.abs().amax(1).mean()) if len(change) else None,
            },
            "calls": None if result.calls is None else float(result.calls.cpu().double().mean()),
            "seconds": None if result.seconds is None else result.seconds / count,
            "scores": multi_label_scores(every, self.states, self.groups).summary(),
            "success_at_k": success_at_k(logits, self.states[rows], self.top, groups)._asdict() if some else None,
        }

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "labels", name))
