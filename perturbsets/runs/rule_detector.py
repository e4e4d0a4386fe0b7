"""Rules as a detector: what they reject of attacks on a run's classifiers, also of attackers that know them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from augment import group_numbers
from cvae import derive_seed
from perturbsets._types import Images, Labels
from perturbsets.adversaries.adversary import Adversary
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.intervals import independent, share_interval
from perturbsets.knowledge import BoundRules, RulePenalized, rejection_threshold
from perturbsets.model_call import class_logits, logits, preserve_state
from perturbsets.recipe import Recipe
from perturbsets.representations import detection_roc
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder

FEWEST = 2  # independent scores of each kind that a curve takes


def detected(recipe: Recipe, run: RunFolder, device: torch.device) -> dict[str, Any] | None:
    """What the rules detect, for each classifier and adversary of the recipe's detector; ``None`` without one."""
    assert recipe.labels is not None  # or the recipe has no such stage
    section = recipe.labels.detector
    if section is None:
        return None
    sets = build.perturbation_sets(recipe, run)
    auxiliary, rules = build.helpers(recipe, run, device)[0], build.rules(recipe)
    if rules is None:
        raise ValueError(
            "labels.detector must come with rules of the auxiliary classifier, got none in the run `trained`"
        )
    classifiers = build.classifiers(recipe, run, device)
    found: dict[str, Any] = {"share": section.share, "weights": section.weights, "classifiers": {}}
    for name in section.classifiers:
        detector = _Detector(recipe, classifiers[name][0], auxiliary, rules, device)
        adversaries = {key: build.adversary(recipe.adversaries[key], sets) for key in section.adversaries}
        found["classifiers"][name] = {
            **detector.natural(),
            "adversaries": {key: detector.attacked(one, section.weights) for key, one in adversaries.items()},
        }
    return found


class _Detector:
    """One classifier with the rules that watch it."""

    def __init__(
        self, recipe: Recipe, model: nn.Module, auxiliary: nn.Module, rules: BoundRules, device: torch.device
    ) -> None:
        assert recipe.labels is not None
        assert recipe.labels.detector is not None  # what it is for
        self.model, self.auxiliary, self.rules, self.seed = model, auxiliary, rules, recipe.seed
        self.device = device
        held = build.labelled(recipe, "validation")
        _, _, scores = self._seen(held.batch(list(range(len(held))))[0].to(device))
        self.threshold = rejection_threshold(scores, share=recipe.labels.detector.share)
        test = build.labelled(recipe, "test")
        order = torch.randperm(len(test), generator=self._generator("test images"))[: recipe.labels.images]
        images, labels = test.batch(order.tolist())
        self.groups = group_numbers(test)[order]
        self.images, self.labels = images.to(device), labels.to(device)
        self.predicted, self.states, self.scores = self._seen(self.images)

    def natural(self) -> dict[str, Any]:
        """What happens to natural test images."""
        right, rejected = self.predicted == self.labels, self.scores > self.threshold
        return {
            "threshold": self.threshold,
            "images": len(right),
            "independent": independent(len(right), self.groups),
            "right": self._share(right),
            "rejected": self._share(rejected),
            "right_and_accepted": self._share(right & ~rejected),
            "violated": self._share(self.rules.violated(self.predicted, self.states)),
        }

    def attacked(self, adversary: Adversary, weights: list[float]) -> dict[str, Any]:
        """What is detected of an attack as it is, and of the same attacker when it knows rules and auxiliary."""
        plain = self._searched(adversary)
        knowing = [
            self._searched(
                replace(
                    adversary,
                    objective=RulePenalized(
                        adversary.objective, self.rules, self.auxiliary, weight=weight, limit=self.threshold
                    ),
                )
            )
            for weight in weights
        ]
        return {"plain": self._told(plain), "adaptive": self._told(self._worst([plain, *knowing]))}

    def _told(self, images: Images) -> dict[str, Any]:
        """How well the score tells changed images that fool the classifier from natural ones, and what gets through."""
        predicted, states, scores = self._seen(images)
        fooled, rejected = predicted != self.labels, scores > self.threshold
        content: dict[str, Any] = {
            "fooled": self._share(fooled),
            "fooled_and_accepted": self._share(fooled & ~rejected),
            "violated": self._share(self.rules.violated(predicted, states)),
        }
        groups = self.groups[fooled.cpu()]
        if len(groups.unique()) >= FEWEST:
            curve = detection_roc(-self.scores, -scores[fooled], natural_groups=self.groups, adversarial_groups=groups)
            content["area"] = curve.interval._asdict()
            content["false_positive"] = curve.false_positive.tolist()
            content["true_positive"] = curve.true_positive.tolist()
        return content

    def _searched(self, adversary: Adversary) -> Images:
        generator = self._generator("detector")
        parts = [
            adversary.select(rows)(self.model, self.images[rows], self.labels[rows], generator=generator).images
            for rows in torch.arange(len(self.images), device=self.device).split(BATCH)
        ]
        return torch.cat(parts)

    def _worst(self, tried: list[Images]) -> Images:
        """For each image what fools the classifier with the lowest score, of several attempts."""
        ranks = []
        for images in tried:
            predicted, _, scores = self._seen(images)
            ranks.append(scores + 2.0 * (predicted == self.labels))  # scores are within 0 and 1
        best = torch.stack(ranks).argmin(0)
        return torch.stack(tried)[best, torch.arange(len(best), device=best.device)]

    def _seen(self, images: Images) -> tuple[Labels, Tensor, Tensor]:
        """The classes and states predicted of images, and how far these break the rules."""
        outputs = [self._passed(part) for part in images.split(BATCH)]
        logits, labels = (torch.cat(both) for both in zip(*outputs, strict=True))
        return logits.argmax(1), (labels > 0).to(labels), self.rules.violation(logits, labels)

    def _passed(self, images: Images) -> tuple[Tensor, Tensor]:
        with preserve_state(self.model, self.device), preserve_state(self.auxiliary, self.device), torch.no_grad():
            return class_logits(self.model, images), logits(self.auxiliary, images)

    def _share(self, flags: Tensor) -> dict[str, float | None]:
        return share_interval(flags, self.groups)._asdict()

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, "labels", name))
