"""Attacks on one model and some images, again and again under other settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from perturbsets._types import Flags, Model, Rows, Samples
from perturbsets.adversary import Adversary
from perturbsets.objectives.segmentation import check_counted, label_maps
from perturbsets.per_image import check_count
from perturbsets.purity import untouched
from perturbsets.rows import check_rows, take_rows


@dataclass(frozen=True)
class Outcome:
    """What an attack left.

    Attributes:
        standing: Whether the attack failed on each image.
        images: The worst samples found.
    """

    standing: Flags
    images: Samples

    @property
    def accuracy(self) -> float:
        """Share of images on which the attack failed."""
        return float(self.standing.cpu().double().mean())


class Trial:
    """A model and the images it is tried on.

    Args:
        adversary: The attack in question: its objective says where an attack succeeded.
        model: The model.
        images: Clean samples.
        labels: What the objective needs.
        batch: Images attacked at a time.
        seed: Seed of all draws: every attack begins with the same ones.

    Attributes:
        right: Whether the goal of the objective is not yet reached on each clean image.

    Raises:
        ValueError: If there are no images, or samples, labels or logits are not as they must be.
    """

    def __init__(
        self, adversary: Adversary, model: Model, images: Samples, labels: object, batch: int, seed: int
    ) -> None:
        if not len(images):
            raise ValueError("images must hold at least one image, got none")
        check_rows("labels", labels, len(images))
        check_count(adversary, len(images))
        if adversary.objective.per_pixel:
            check_counted(label_maps(labels, images))
        self.adversary, self.model, self.images, self.labels = adversary, model, images, labels
        self.batch, self.seed = batch, seed
        self.right = self.right_on(images)

    def attack(self, adversary: Adversary, *, on: Model | None = None) -> Outcome:
        """Attacks the model with all images, or with what an attack on another model found.

        Args:
            adversary: The attack.
            on: The model to attack instead; the outcome is still that of the trial's model.
        """
        target = self.model if on is None else on
        found = [
            part(target, self.images[rows], take_rows(self.labels, rows), generator=generator)
            for part, rows, generator in self.parts(adversary)
        ]
        images = torch.cat([part.images for part in found])
        if on is not None:
            return Outcome(self.right_on(images), images)
        return Outcome(~torch.cat([part.reached for part in found]), images)

    def right_on(self, images: Samples) -> Flags:
        """Whether the goal of the objective is not reached on each changed image."""
        flags = []
        for part, rows, _ in self.parts(self.adversary):
            with untouched(self.model, images.device) as model, torch.no_grad():
                loss = part.objective.at(model, self.images[rows].detach(), take_rows(self.labels, rows))
                values, success = loss(images[rows], images.new_zeros(len(rows), 1))
            if not bool(values.isfinite().all()):
                raise ValueError(
                    f"model must return finite logits, got NaN or infinity on {int((~values.isfinite()).sum())} of "
                    f"{len(rows)} images: train it again"
                )
            flags.append(~success)
        return torch.cat(flags)

    def parts(self, adversary: Adversary) -> Iterator[tuple[Adversary, Rows, torch.Generator]]:
        """The adversary for each batch, the rows of the batch, and its generator."""
        generator = torch.Generator().manual_seed(self.seed)
        for rows in torch.arange(len(self.images), device=self.images.device).split(self.batch):
            yield adversary.keep(rows), rows, generator
