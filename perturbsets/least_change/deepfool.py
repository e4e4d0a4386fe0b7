"""DeepFool for patterns of labels: the least Euclidean change that meets the linearised constraints."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor

from perturbsets._types import Model, Samples
from perturbsets.least_change.least_norm import least_norm
from perturbsets.least_change.search import least_change
from perturbsets.sets.base import PerturbationSet
from perturbsets.sets.pixel import PixelBall
from perturbsets.smallest_radius import SmallestRadius


def multi_label_deepfool(
    model: Model,
    images: Samples,
    targets: Tensor,
    perturbations: PerturbationSet | None = None,
    *,
    steps: int = 50,
    overshoot: float = 0.02,
    margin: float = 0.0,
    equality: bool = False,
) -> SmallestRadius:
    r"""Minimises the Euclidean length of the offsets at which each label asked for has its state.

    .. math:: \min_r \|r\|_2 \quad \text{subject to} \quad y^*_j \big(s_j + \nabla s_j^\top r\big) \ge \gamma

    for the labels j asked for, with :math:`y^*_j` 1 for on and -1 for off, repeated where r leads. A constraint that is
    met already pulls nowhere: the published form asks for equality, by the pseudo-inverse, and so pulls labels that
    are rightly far on their side back to the boundary. Bounds of the samples are constraints too, rather than clipped
    to afterwards. Once the pattern is reached, further rounds move along its boundary to where it is nearest.

    Args:
        model: The multi-label classifier, samples to logits ``[B, L]``; judged in evaluation mode and left as it was.
        images: Clean samples.
        targets: States ``[B, L]`` asked for: 1 on, 0 off, NaN free. :func:`altered` makes them.
        perturbations: Any set that can be climbed; by default all samples within [0, 1]. What lies outside of a
            set's radius is projected into it each round.
        steps: Largest number of rounds; each costs a forward pass, and a backward pass for each label asked for.
        overshoot: Share of what a margin lacks by which first steps go beyond, in (0, 1); later rounds take it back.
        margin: Margin γ to the boundary, 0 or more, in logits.
        equality: Whether to ask for equality, as published.

    Returns:
        Euclidean lengths of the offsets, whatever the set's norm, with samples and calls; infinite where the pattern
        was not reached, 0 where nothing is asked or all of it holds already. On linear models they are at most a
        thousandth above the least, at the default overshoot; never below it.

    Raises:
        ValueError: If a setting is outside its range, nothing can climb in the set, or samples, targets or logits are
            not as they must be.

    References:
        Song, Jin, Huang and Hu, *Multi-label adversarial perturbations*, 2018 (ML-DF); Moosavi-Dezfooli, Fawzi and
        Frossard, *DeepFool: a simple and accurate method to fool deep neural networks*, 2016.

    Example:
        >>> import torch
        >>> from perturbsets.label_states import altered
        >>> from torch import nn
        >>> model = nn.Linear(3, 3)
        >>> _ = nn.init.eye_(model.weight), nn.init.constant_(model.bias, -0.4)
        >>> x = torch.full((1, 3), 0.5)  # all labels are on
        >>> found = multi_label_deepfool(model, x, altered(torch.ones(1, 3), hide=[0, 1]))
        >>> round(float(found.radii), 3), (model(found.images) > 0).tolist()  # the root of 0.1² + 0.1²
        (0.141, [[False, False, True]])
    """
    return least_change(
        model,
        images,
        targets,
        perturbations if perturbations is not None else PixelBall("l2", math.inf),
        partial(least_norm, equality=equality),
        lambda offsets: offsets.norm(dim=1),
        steps=steps,
        overshoot=overshoot,
        margin=margin,
    )
