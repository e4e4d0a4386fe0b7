"""Pairs of a source and a guide of another class, whose representation the changed source is to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from augment import Source, group_numbers
from augment.splits import joined
from perturbsets._types import Images, Labels, Rows
from perturbsets.model_call import class_logits, given_or_fresh, preserve_state
from perturbsets.printing import Printed


@dataclass(frozen=True)
class GuidedPairs(Printed):
    """Sources, images in [0, 1] to change, and for each a guide of another class, whose representation is wanted.

    Rows are those of the images in their data. Pairs whose sources or guides belong together are of one group.
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
    """Draws pairs of a source and a guide at random, no image twice.

    Args:
        sources: Data of the sources.
        guides: Data of the guides.
        count: Number of pairs, at least 1.
        model: If given, only images that it classifies correctly are drawn.
        shared: Whether both are the same data: then no image is both a source and a guide.
        batch: Images read and classified at a time.
        device: Where the model is, and the images will be; the CPU if not given.
        generator: For the draw; a fresh one, seeded by the system, if not given.

    Raises:
        ValueError: If images have no classes, or there are fewer pairs.

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
    generator = given_or_fresh(generator)
    device = device or torch.device("cpu")
    order = torch.randperm(len(sources), generator=generator, device=generator.device).cpu()
    others = torch.randperm(len(guides), generator=generator, device=generator.device).cpu()
    # Of shared data, sources are taken from one end and guides from the other.
    first = _usable(sources, order, model, batch, device)
    second = _usable(guides, order.flip(0) if shared else others, model, batch, device)
    source_rows, guide_rows = _matched(first, second, count, shared=shared)
    if len(source_rows) < count:
        kind = "images" if model is None else "images that the model classifies correctly"
        raise ValueError(
            f"count must be at most the number of pairs of different classes, got {count}: there are "
            f"{len(source_rows)} of {kind}, among {len(sources)} sources and {len(guides)} guides; ask for fewer, or "
            "give more images"
        )
    source_images, source_labels = sources.batch(source_rows)
    guide_images, guide_labels = guides.batch(guide_rows)
    place = "guides" if shared else "sources"
    units = zip(group_numbers(sources)[source_rows].tolist(), group_numbers(guides)[guide_rows].tolist(), strict=True)
    groups = joined([((place, source), ("guides", guide)) for source, guide in units])
    return GuidedPairs(
        *(source_images.to(device), source_labels.to(device), torch.tensor(source_rows)),
        *(guide_images.to(device), guide_labels.to(device), torch.tensor(guide_rows)),
        groups=torch.tensor(groups),
    )


def _usable(
    data: Source, order: Rows, model: nn.Module | None, batch: int, device: torch.device
) -> Iterator[tuple[int, int]]:
    """Rows in order, of images classified correctly if there is a model, with their classes; read lazily."""
    for part in order.split(batch):
        images, classes = data.batch(part.tolist())
        if classes.ndim != 1 or bool((classes < 0).any()):
            raise ValueError("sources and guides must have one class per image, got images without: name their classes")
        usable = torch.ones_like(classes, dtype=torch.bool)
        if model is not None:
            with preserve_state(model, device) as bare, torch.no_grad():
                usable = class_logits(bare, images.to(device)).argmax(1).cpu() == classes
        yield from zip(part[usable].tolist(), classes[usable].tolist(), strict=True)


def _matched(
    sources: Iterator[tuple[int, int]], guides: Iterator[tuple[int, int]], count: int, *, shared: bool
) -> tuple[list[int], list[int]]:
    """Rows of sources and of guides of other classes, in order, until there are enough or no more."""
    source_rows: list[int] = []
    guide_rows: list[int] = []
    waiting: list[tuple[int, int]] = []  # guides of the class of every source so far
    for row, label in sources:
        if len(source_rows) == count or (shared and (row in guide_rows or any(row == other for other, _ in waiting))):
            break  # both ends have met
        place = next((number for number, (_, other) in enumerate(waiting) if other != label), None)
        while place is None and (guide := next(guides, None)) is not None:
            if shared and guide[0] in {row, *source_rows}:
                break
            waiting.append(guide)
            place = len(waiting) - 1 if guide[1] != label else None
        if place is not None:
            source_rows.append(row)
            guide_rows.append(waiting.pop(place)[0])
    return source_rows, guide_rows
