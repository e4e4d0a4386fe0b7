"""Pairs by clean image, and results by group: condition, severity and class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perturbsets._types import Images, Labels
from perturbsets.criteria.figures import figure, named
from perturbsets.criteria.pairs import BATCH, Pairs, floats


class SourceBatch(NamedTuple):
    """All pairs of some clean images.

    Attributes:
        clean: Clean images, one per pair.
        changed: Changed images.
        member: Position among the batch's clean images of each pair's, on the images' device.
        first: Position in the batch of the first pair of each clean image.
        source: Source number of each clean image; those of one source are not independent.
        label: Class of each clean image's first pair, -1 where there is none.
        row: Position among all pairs of each clean image's first pair.
    """

    clean: Images
    changed: Images
    member: Labels
    first: Labels
    source: Labels
    label: Labels
    row: Labels


def by_clean_image(pairs: Pairs, *, size: int = BATCH, device: torch.device | str = "cpu") -> Iterator[SourceBatch]:
    """Batches that hold all pairs of each of their clean images, in the order of these.

    Args:
        pairs: The pairs; each source counts as one clean image unless they have ``clean_rows``, as
            :class:`augment.PairStore` does.
        size: Largest number of pairs in a batch, unless a clean image has more.
        device: Device of the images; numbers and labels stay on the CPU.

    Raises:
        ValueError: If there are no pairs.
    """
    source, label = sources_of(pairs), labels_of(pairs)
    image = getattr(pairs, "clean_rows", source)
    order = image.argsort(stable=True)
    _, counts = image[order].unique_consecutive(return_counts=True)
    for block in _blocks(counts, size):
        taken, order = order[: int(block.sum())], order[int(block.sum()) :]
        clean, changed, *_ = pairs.batch(taken)
        first = block.cumsum(0) - block
        member = torch.repeat_interleave(torch.arange(len(block)), block).to(device)
        rows = taken[first]
        yield SourceBatch(
            floats(clean, device), floats(changed, device), member, first.to(device), source[rows], label[rows], rows
        )


def sources_of(pairs: Pairs) -> Labels:
    """Source number of each pair.

    Raises:
        ValueError: If there are no pairs.
    """
    return _column(pairs, "sources", 2)


def labels_of(pairs: Pairs) -> Labels:
    """Class of each pair, -1 where there is none.

    Raises:
        ValueError: If there are no pairs.
    """
    return _column(pairs, "labels", 3)


def _column(pairs: Pairs, name: str, position: int) -> Labels:
    """An attribute of the pairs, or else a part of what their batches return."""
    if not len(pairs):
        raise ValueError("pairs must hold at least one pair, got none: choose another split")
    stored = getattr(pairs, name, None)
    if isinstance(stored, Tensor):
        return stored.long()
    return torch.cat([pairs.batch(rows)[position] for rows in torch.arange(len(pairs)).split(BATCH)]).long()


def _blocks(counts: Tensor, size: int) -> Iterator[Tensor]:
    """Runs of counts that sum up to at most a size, or are single."""
    start, total = 0, 0
    for number, count in enumerate(counts.tolist()):
        if total + count > size and number > start:
            yield counts[start:number]
            start, total = number, 0
        total += count
    yield counts[start:]


class Grouping(NamedTuple):
    """One way to sort pairs into groups.

    Attributes:
        number: Number of each pair's group among the names ``[N]``; -1 for none.
        names: Names of the groups.
    """

    number: Tensor
    names: tuple[str, ...]


def groups_of(pairs: Pairs) -> dict[str, Grouping]:
    """The groupings that pairs know themselves, by name: ``condition``, ``severity`` and ``class``.

    Conditions and severities are those of an :class:`augment.PairStore`; classes are the labels. A grouping with a
    single group is left out.
    """
    groupings: dict[str, Grouping] = {}
    condition = getattr(pairs, "condition", None)
    if condition is not None:
        groupings["condition"] = Grouping(condition.long(), tuple(getattr(pairs, "conditions", ())))
    parameters: Tensor | None = getattr(pairs, "parameters", None)
    names = list(getattr(pairs, "parameter_names", ()))
    if parameters is not None and "severity" in names:
        severity = parameters[:, names.index("severity")].round().long()
        groupings["severity"] = _by_value(severity.masked_fill(severity < 1, -1))  # 0 for changes without severities
    groupings["class"] = _by_value(labels_of(pairs))
    return {name: grouping for name, grouping in groupings.items() if len(grouping.number.unique()) > 1}


def by_group(
    values: Tensor, groups: Mapping[str, Grouping], source: Tensor, *, over: Tensor | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    r"""Means of each group, and ratios of means, with intervals over sources.

    .. math:: \bar v_G = \frac{1}{|G|} \sum_{i \in G} v_i, \qquad
        \text{share}_G = \frac{\sum_{i \in G} v_i}{\sum_{i \in G} w_i}

    Args:
        values: One number per pair :math:`v`.
        groups: Groupings by name.
        source: Source of each pair.
        over: Denominators :math:`w` of the shares; no shares without them.

    Returns:
        Name of the grouping, then of the group, to ``pairs``, ``sources``, ``mean``, ``low``, ``high``, and the same
        for ``share``. Groups without a pair are left out; ends are ``None`` where there are too few sources.

    Raises:
        ValueError: If a grouping does not fit the pairs.

    Example:
        >>> which = Grouping(torch.tensor([0, 0, 1, 1]), ("fog", "snow"))
        >>> means = by_group(torch.tensor([1.0, 3.0, 5.0, 7.0]), {"condition": which}, torch.arange(4))
        >>> {name: entry["mean"] for name, entry in means["condition"].items()}
        {'fog': 2.0, 'snow': 6.0}
    """

    def entry(rows: Tensor) -> dict[str, Any]:
        share = {} if over is None else named(figure(values[rows], source[rows], over[rows]), "share")
        return {
            "pairs": len(rows),
            "sources": len(source[rows].unique()),
            **figure(values[rows], source[rows]),
            **share,
        }

    return {
        way: {name: entry(rows) for name, rows in members(grouping, len(values), way).items()}
        for way, grouping in groups.items()
    }


def members(grouping: Grouping, count: int, name: str = "grouping") -> dict[str, Tensor]:
    """Rows of the pairs of each group that has any.

    Raises:
        ValueError: If numbers are not one per pair, or not of a group.
    """
    number, names = grouping
    if number.shape != (count,) or number.is_floating_point():
        raise ValueError(
            f"groups[{name!r}] must number the group of each of {count} pairs, got {list(number.shape)} of "
            f"{number.dtype}: `groups_of(pairs)` takes them from the same pairs"
        )
    if len(number) and not -1 <= int(number.min()) <= int(number.max()) < len(names):
        raise ValueError(
            f"groups[{name!r}] must lie in -1 (none) to {len(names) - 1}, one for each of its {len(names)} names, got "
            f"{int(number.min())} to {int(number.max())}"
        )
    rows = {group: (number == index).nonzero()[:, 0] for index, group in enumerate(names)}
    return {group: selected for group, selected in rows.items() if len(selected)}


def _by_value(numbers: Tensor) -> Grouping:
    """Groups of equal whole numbers; below 0 is none."""
    values = [int(number) for number in numbers.unique() if number >= 0]
    place = torch.searchsorted(torch.tensor(values or [0]), numbers.contiguous())
    return Grouping(place.masked_fill(numbers < 0, -1), tuple(map(str, values)))
