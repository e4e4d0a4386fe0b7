"""Pairs of a source, which is changed, and a guide of another class, whose representation it is to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from augment import Source, group_numbers
from augment.splits import joined
from perturbsets._types import Images, Labels, Rows
from perturbsets.model_call import class_logits, preserve_state


@dataclass(frozen=True)
class GuidedPairs:
    """Sources and their guides, a guide for each source and both of different classes.

    Attributes:
        sources: Images to change, in [0, 1].
        source_labels: Their classes.
        source_rows: Where in their data the sources are.
        guides: Images whose representation is wanted.
        guide_labels: Their classes.
        guide_rows: Where in their data the guides are.
        groups: Number of each pair's independent unit: pairs belong together where their sources do, or their guides.
    """

    sources: Images
    source_labels: Labels
    source_rows: Rows
    guides: Images
    guide_labels: Labels
    guide_rows: Rows
    groups: Labels


def draw_guided_pairs(
    sources: Source,
    guides: Source,
    count: int,
    *,
    model: nn.Module | None = None,
    shared: bool = False,
    batch: int = 256,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> GuidedPairs:
    """Draws pairs at random, no image twice.

    Args:
        sources: Data that sources come from.
        guides: Data that guides come from.
        count: Number of pairs, at least 1.
        model: Leaves only images that it has right; without one all will do.
        shared: Whether both are the same data: then no image is both a source and a guide.
        batch: Images looked at together.
        device: Where the model is, and the images will be; the CPU if not given.
        generator: For the draw; a fresh one, seeded by the system, if not given.

    Returns:
        The pairs.

    Raises:
        ValueError: If images have no classes, or there are not so many pairs.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> from augment import Digits
        >>> data = Digits("train", size=8, digit=8)
        >>> pairs = draw_guided_pairs(data, data, 5, shared=True)
        >>> bool((pairs.source_labels != pairs.guide_labels).all())
        True
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    device = torch.device("cpu") if device is None else device
    order = torch.randperm(len(sources), generator=generator, device=generator.device).cpu()
    others = torch.randperm(len(guides), generator=generator, device=generator.device).cpu()
    # Of shared data sources are taken from one end and guides from the other.
    wanted = _usable(sources, order, model, batch, device)
    offered = _usable(guides, order.flip(0) if shared else others, model, batch, device)
    mine, theirs = _matched(wanted, offered, count, shared=shared)
    if len(mine) < count:
        kind = "images" if model is None else "images that the model has right"
        raise ValueError(
            f"count must be at most the pairs of different classes at hand, got {count}: there are {len(mine)} of "
            f"{kind}, among {len(sources)} sources and {len(guides)} guides; ask for fewer, or give more images"
        )
    source_rows, guide_rows = torch.tensor(mine), torch.tensor(theirs)
    shown, source_labels = sources.batch(mine)
    leading, guide_labels = guides.batch(theirs)
    return GuidedPairs(
        shown.to(device),
        source_labels.to(device),
        source_rows,
        leading.to(device),
        guide_labels.to(device),
        guide_rows,
        _groups(sources, guides, source_rows, guide_rows, shared=shared),
    )


def _groups(sources: Source, guides: Source, source_rows: Rows, guide_rows: Rows, *, shared: bool) -> Labels:
    """Number of each pair's independent unit: pairs with a common unit of their sources or guides belong together."""
    firsts, seconds = group_numbers(sources)[source_rows].tolist(), group_numbers(guides)[guide_rows].tolist()
    place = "guides" if shared else "sources"
    pairs = [((place, first), ("guides", second)) for first, second in zip(firsts, seconds, strict=True)]
    return torch.tensor(joined(pairs))


def _usable(
    data: Source, order: Rows, model: nn.Module | None, batch: int, device: torch.device
) -> Iterator[tuple[int, int]]:
    """Rows in order that will do, with their classes, read when they are asked for."""
    for part in order.split(batch):
        images, classes = data.batch(part.tolist())
        if classes.ndim != 1 or bool((classes < 0).any()):
            raise ValueError("sources and guides must have one class per image, got images without: name their classes")
        will_do = torch.ones_like(classes, dtype=torch.bool)
        if model is not None:
            with preserve_state(model, device) as bare, torch.no_grad():
                will_do = class_logits(bare, images.to(device)).argmax(1).cpu() == classes
        yield from zip(part[will_do].tolist(), classes[will_do].tolist(), strict=True)


def _matched(
    wanted: Iterator[tuple[int, int]], offered: Iterator[tuple[int, int]], count: int, *, shared: bool
) -> tuple[list[int], list[int]]:
    """Rows of sources and of guides of other classes, in order, until there are enough or no more."""
    mine: list[int] = []
    theirs: list[int] = []
    waiting: list[tuple[int, int]] = []  # guides that no source could take so far
    for row, label in wanted:
        if len(mine) == count or (shared and (row in theirs or any(row == other for other, _ in waiting))):
            break  # both ends have met
        place = next((number for number, (_, other) in enumerate(waiting) if other != label), None)
        while place is None and (guide := next(offered, None)) is not None:
            if shared and guide[0] in {row, *mine}:
                break
            waiting.append(guide)
            place = len(waiting) - 1 if guide[1] != label else None
        if place is not None:
            mine.append(row)
            theirs.append(waiting.pop(place)[0])
    return mine, theirs
