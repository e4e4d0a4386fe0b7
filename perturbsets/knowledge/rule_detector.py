"""Rules as a detector of attacks on a classifier, also of adaptive attacks, which know the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cvae import derive_seed
from perturbsets._types import Images, Labels
from perturbsets.adversaries.adversary import Adversary
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.intervals import independent, share_interval
from perturbsets.knowledge.bound_rules import BoundRules
from perturbsets.knowledge.rejection import rejection_threshold
from perturbsets.knowledge.rule_penalized import RulePenalized
from perturbsets.model_call import class_logits, initial_seed, logits, preserve_state
from perturbsets.representations import detection_roc
from perturbsets.rows import batches

FEWEST = 2  # independent scores of each kind that a curve needs


class RuleDetector:
    """A classifier whose predictions are rejected where predicted labels violate the rules of the predicted class.

    Args:
        model: The classifier.
        auxiliary: Predicts the labels; one is on where its logit is above 0.
        rules: Rules between labels and classes.
        natural: Natural images, of which the rejection threshold is computed.
        share: Share of them that may be rejected.
        generator: Gives the seed of all draws, its initial one (0 without a generator).

    Attributes:
        threshold: Images whose violation of the rules exceeds it are rejected.
    """

    def __init__(
        self,
        model: nn.Module,
        auxiliary: nn.Module,
        rules: BoundRules,
        natural: Images,
        *,
        share: float = 0.05,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.auxiliary, self.rules = model, auxiliary, rules
        self.seed = initial_seed(generator)
        self.threshold = rejection_threshold(self.predict(natural)[2], share=share)

    def predict(self, images: Images) -> tuple[Labels, Tensor, Tensor]:
        """Predicted classes and states of labels, and how far they violate the rules."""
        parts = []
        for part in images.split(BATCH):
            with preserve_state(self.model, part.device), preserve_state(self.auxiliary, part.device), torch.no_grad():
                parts.append((class_logits(self.model, part), logits(self.auxiliary, part)))
        classes, labels = (torch.cat(both) for both in zip(*parts, strict=True))
        return classes.argmax(1), (labels > 0).to(labels), self.rules.violation(classes, labels)

    def evaluate(
        self,
        images: Images,
        labels: Labels,
        adversaries: Mapping[str, Adversary],
        *,
        weights: Sequence[float] = (0.1, 0.3, 1.0),
        groups: Tensor | None = None,
    ) -> dict[str, Any]:
        """Rejection of natural test images, and detection of each adversary's, attacking plainly and adaptively.

        Args:
            images: Test images.
            labels: Their classes.
            adversaries: Adversaries by name.
            weights: Weights of the rules in the objective of the adaptive attack, the worst case over all of which
                (and over the plain attack) counts.
            groups: Number of each image's independent unit.

        Returns:
            Shares with intervals, and curves, as plain values.
        """
        groups = torch.arange(len(images)) if groups is None else groups
        predicted, states, scores = self.predict(images)
        right, rejected = predicted == labels, scores > self.threshold
        content: dict[str, Any] = {
            "threshold": self.threshold,
            "images": len(right),
            "independent": independent(len(right), groups),
            "right": _share(right, groups),
            "rejected": _share(rejected, groups),
            "right_and_accepted": _share(right & ~rejected, groups),
            "violated": _share(self.rules.violated(predicted, states), groups),
            "adversaries": {},
        }
        for name, adversary in adversaries.items():
            plain = self._attack(adversary, images, labels)
            attempts = [plain]
            for weight in weights:
                known = self.rules, self.auxiliary
                objective = RulePenalized(adversary.objective, *known, weight=weight, limit=self.threshold)
                attempts.append(self._attack(replace(adversary, objective=objective), images, labels))
            content["adversaries"][name] = {
                "plain": self._detection(plain, labels, scores, groups),
                "adaptive": self._detection(self._worst(attempts, labels), labels, scores, groups),
            }
        return content

    def _attack(self, adversary: Adversary, images: Images, labels: Labels) -> Images:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "labels", "detector"))
        parts = [
            adversary.select(rows)(self.model, images[rows], labels[rows], generator=generator).images
            for rows in batches(images, BATCH)
        ]
        return torch.cat(parts)

    def _worst(self, attempts: list[Images], labels: Labels) -> Images:
        """For each image the misclassified attempt with the lowest score."""
        ranks = []
        for images in attempts:
            predicted, _, scores = self.predict(images)
            ranks.append(scores + 2.0 * (predicted == labels))  # scores are in [0, 1]
        best = torch.stack(ranks).argmin(0)
        return torch.stack(attempts)[best, torch.arange(len(best), device=best.device)]

    def _detection(self, images: Images, labels: Labels, natural: Tensor, groups: Tensor) -> dict[str, Any]:
        """How well the score separates misclassified adversarial images from natural ones; how many are accepted."""
        predicted, states, scores = self.predict(images)
        fooled, rejected = predicted != labels, scores > self.threshold
        content: dict[str, Any] = {
            "fooled": _share(fooled, groups),
            "fooled_and_accepted": _share(fooled & ~rejected, groups),
            "violated": _share(self.rules.violated(predicted, states), groups),
        }
        own = groups[fooled.cpu()]
        if len(own.unique()) >= FEWEST:
            content |= detection_roc(-natural, -scores[fooled], natural_groups=groups, adversarial_groups=own).summary()
        return content


def _share(flags: Tensor, groups: Tensor) -> dict[str, float | None]:
    return share_interval(flags, groups)._asdict()
