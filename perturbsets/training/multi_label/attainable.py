"""Attacks on the states of those images of a batch that leave something to reach."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from perturbsets._types import Flags, Offsets, Samples, States
from perturbsets.adversary import Adversary, Found
from perturbsets.objectives.multi_label.base import MultiLabelObjective
from perturbsets.objectives.priced import Priced
from perturbsets.worst import Worst


class Fooling(NamedTuple):
    """What fools a multi-label classifier, an image of each of a batch.

    Attributes:
        images: The worst ones found, clean where states leave nothing to reach.
        offsets: Where in the set they are, 0 for clean ones; ``None`` of several adversaries.
    """

    images: Samples
    offsets: Offsets | None


def fool_labels(
    adversary: Adversary | Worst, model: nn.Module, images: Samples, states: States, *, generator: torch.Generator
) -> Fooling:
    """Raises the value of the images that every objective, a judge's too, can ask something of; others stay clean.

    Labels that are all on, say, cannot be ranked: such images are a part of data, and no reason to end a training.

    Args:
        adversary: One with a multi-label objective, or several.
        model: The multi-label classifier.
        images: Clean images.
        states: Their true states, or targets.
        generator: For everything drawn.

    Raises:
        ValueError: As the adversary.
    """
    states = states.to(images.device)
    able = _attainable(adversary, states)
    if bool(able.all()):
        found = adversary(model, images, states, generator=generator, rank="value")
        return Fooling(found.images, found.offsets if isinstance(found, Found) else None)
    rows, fooled, offsets = able.nonzero()[:, 0], images.detach().clone(), None
    if isinstance(adversary, Adversary):
        with torch.no_grad():
            offsets = adversary.perturbations.at(fooled).centre()
    if len(rows):
        found = adversary.keep(rows)(model, images[rows], states[rows], generator=generator, rank="value")
        fooled[rows] = found.images
        if offsets is not None and isinstance(found, Found):
            offsets[rows] = found.offsets
    return Fooling(fooled, offsets)


def _attainable(adversary: Adversary | Worst, states: States) -> Flags:
    """The images that every objective can ask something of."""
    if isinstance(adversary, Worst):
        objectives = [adversary.judge, *(each.objective for each in adversary.adversaries)]
    else:
        objectives = [adversary.objective]
    able = torch.ones(len(states), dtype=torch.bool, device=states.device)
    for objective in objectives:
        while isinstance(objective, Priced):
            objective = objective.objective
        if isinstance(objective, MultiLabelObjective):
            able = able & objective.attainable(states)
    return able
