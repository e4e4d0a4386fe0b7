"""Attacks on one model and some images, again and again under other settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from perturbsets._types import Flags, Rows, Samples
from perturbsets.adversary import Adversary
from perturbsets.evaluation.accuracy import correct_under, predictions


@dataclass(frozen=True)
class Outcome:
    """What an attack left.

    Attributes:
        standing: Whether each image is still classified rightly.
        images: The worst samples found.
    """

    standing: Flags
    images: Samples

    @property
    def accuracy(self) -> float:
        """Share of images that stand."""
        return float(self.standing.double().mean())


class Trial:
    """A model and the images it is tried on.

    Args:
        model: The model.
        images: Clean samples.
        labels: Their classes.
        batch: Images attacked at a time.
        seed: Seed of all draws: every attack begins with the same ones.

    Attributes:
        right: Whether each clean image is classified rightly.

    Raises:
        ValueError: If samples, labels or logits are not as they must be.
    """

    def __init__(self, model: nn.Module, images: Samples, labels: Tensor, batch: int, seed: int) -> None:
        self.right = correct_under(model, None, images, labels, batch=batch)
        self.model, self.images, self.labels = model, images, labels.to(images.device).long()
        self.batch, self.seed = batch, seed

    def attack(self, adversary: Adversary, *, on: nn.Module | None = None) -> Outcome:
        """Attacks the model with all images, or with what turns another model.

        Args:
            adversary: The attack.
            on: The model to attack instead; the outcome is still that of the trial's model.
        """
        found = [
            part(self.model if on is None else on, self.images[rows], self.labels[rows], generator=generator)
            for part, rows, generator in self.parts(adversary)
        ]
        images = torch.cat([part.images for part in found])
        if on is not None:
            return Outcome(self.right_on(images), images)
        return Outcome(~torch.cat([part.reached for part in found]), images)

    def right_on(self, images: Samples) -> Flags:
        """Whether the model classifies changed images rightly."""
        pairs = zip(images.split(self.batch), self.labels.split(self.batch), strict=True)
        return torch.cat([predictions(self.model, x, y) == y for x, y in pairs])

    def parts(self, adversary: Adversary) -> Iterator[tuple[Adversary, Rows, torch.Generator]]:
        """The adversary for each batch, the rows of the batch, and its generator."""
        generator = torch.Generator().manual_seed(self.seed)
        for rows in torch.arange(len(self.images), device=self.images.device).split(self.batch):
            yield replace(adversary, perturbations=adversary.perturbations.keep(rows)), rows, generator
