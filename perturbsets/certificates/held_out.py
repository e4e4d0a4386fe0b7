"""Votes under noise certified on held-out images, with the joint statement where it can be made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from augment import Source, group_numbers
from perturbsets._types import Images, Model, Rows
from perturbsets.certificates.classification import Smoothed
from perturbsets.certificates.contradiction import find_contradictions
from perturbsets.certificates.joint import joint_statement
from perturbsets.certificates.radius import RadiusCertificate
from perturbsets.certificates.segmentation import SmoothedMaps
from perturbsets.criteria.pairs import Pairs, floats
from perturbsets.sets import LatentBall, PerturbationSet


class HeldOut(NamedTuple):
    """Clean images on which votes are certified.

    Attributes:
        images: The images, in [0, 1].
        labels: Their classes, or label maps.
        groups: Number of each image's independent unit.
        rows: Their rows among held-out pairs, one pair a source; ``None`` for images of a source.
    """

    images: Images
    labels: Tensor
    groups: Tensor
    rows: Rows | None


def held_out_images(
    pairs: Pairs | None, source: Callable[[], Source], count: int | None, generator: torch.Generator
) -> HeldOut:
    """Draws the clean images of held-out pairs that have classes, for joint statements, or else images of a source.

    Pairs are one a source; ``source`` makes the source, where it is needed; a count of ``None`` takes all images.
    """
    if pairs is not None:
        rows = torch.randperm(len(pairs), generator=generator)[:count]
        images, _, groups, labels = pairs.batch(rows)
        if bool((labels >= 0).all()):
            return HeldOut(floats(images, images.device), labels, groups, rows)
    data = source()
    order = torch.randperm(len(data), generator=generator)[:count]
    images, labels = data.batch(order.tolist())
    return HeldOut(images, labels, group_numbers(data)[order], None)


def certify_votes(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    perturbations: PerturbationSet,
    sigma: float | tuple[float, ...],
    contradictions: bool = False,
    needed: RadiusCertificate | None = None,
    rows: Rows | None = None,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Certifies a classifier's votes, or a segmentation network's where labels are maps, under noise in a set.

    Certified votes can be attacked within their radii, to find contradictions. A joint statement takes the radii that
    held-out pairs of the learned set need, and the rows of the images among these pairs. Settings are further arguments
    of :meth:`Smoothed.certify`: ``selection``, ``draws``, ``alpha``, ``groups``.

    Returns:
        The figures as plain values, and tensors: the certified classes, labels and radii.
    """
    settings |= {"labels": labels, "generator": generator}
    if labels.ndim > 1:
        maps = SmoothedMaps(model, perturbations, sigma).certify(images, **settings)
        return maps.summary(), {"classes": maps.classes, "labels": labels}
    smoothed = Smoothed(model, perturbations, sigma)
    result = smoothed.certify(images, **settings)
    content = result.summary()
    if contradictions:
        search = find_contradictions(smoothed, images, result, draws=settings["draws"], generator=generator)
        content["contradictions"] = search.summary()
    if needed is not None and rows is not None and isinstance(perturbations, LatentBall):
        radii = needed.radii[rows]
        content["joint"] = joint_statement(
            radii,
            torch.where(radii.isfinite(), needed.tolerance, torch.inf),  # they were searched for that tolerance
            result.radii.cpu(),
            result.correct().cpu(),
            error=needed.tolerance,
            alpha=needed.covering.alpha,
            failure=result.alpha,
            relative=needed.relative,
        ).summary()
    return content, {"classes": result.classes, "labels": labels, "radii": result.radii}
