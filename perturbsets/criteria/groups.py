"""Groups of pairs: figures by corruption, severity and class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perturbsets._types import Images, Labels
from perturbsets.criteria.figures import figure, named
from perturbsets.criteria.pairs import BATCH, Pairs, floats

# Going through held-out pairs clean image by clean image: what depends on it alone is asked once.


class SourceBatch(NamedTuple):
    """All pairs of some clean images.

    Attributes:
        clean: Clean images, one per pair.
        changed: Changed images.
        member: Which of the batch's clean images each pair is of, on the images' device.
        first: Position in the batch of the first pair of each clean image.
        source: Number of the source of each clean image; those of one source are not independent.
        label: Class of each clean image's first pair, -1 where there is none.
        row: Which of all pairs the first one of each clean image is.
    """

    clean: Images
    changed: Images
    member: Labels
    first: Labels
    source: Labels
    label: Labels
    row: Labels


def by_clean_image(pairs: Pairs, size: int = BATCH, *, device: torch.device | str = "cpu") -> Iterator[SourceBatch]:
    """All pairs, those of a clean image together, in the order of these.

    Pairs that do not tell their ``clean_rows``, as :class:`augment.PairStore` does, have one for each source.

    Args:
        pairs: The pairs.
        size: Pairs in one batch, at most, unless a clean image has more.
        device: Where the images go; numbers and labels stay on the CPU.

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
    """Number of each pair's source.

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
    """What the pairs keep under a name, or else give with their images."""
    if not len(pairs):
        raise ValueError("pairs must hold at least one pair, got none: choose another split")
    kept = getattr(pairs, name, None)
    if isinstance(kept, Tensor):
        return kept.long()
    return torch.cat([pairs.batch(rows)[position] for rows in torch.arange(len(pairs)).split(BATCH)]).long()


def _blocks(counts: Tensor, size: int) -> Iterator[Tensor]:
    """Runs of counts that sum up to a size at most, or are single."""
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
        number: Number of each pair's group among the names ``[N]``; -1 for a pair in none.
        names: Names of the groups.
    """

    number: Tensor
    names: tuple[str, ...]


def groups_of(pairs: Pairs) -> dict[str, Grouping]:
    """The ways to sort pairs that they know themselves: by ``condition``, ``severity`` and ``class``.

    Conditions and severities are those that an :class:`augment.PairStore` keeps; classes are the labels. A way that
    puts all pairs into one group is left out.

    Args:
        pairs: The pairs.

    Returns:
        Name of the way to its groups.
    """
    found: dict[str, Grouping] = {}
    condition = getattr(pairs, "condition", None)
    if condition is not None:
        found["condition"] = Grouping(condition.long(), tuple(getattr(pairs, "conditions", ())))
    told: Tensor | None = getattr(pairs, "parameters", None)
    names = list(getattr(pairs, "parameter_names", ()))
    if told is not None and "severity" in names:
        severity = told[:, names.index("severity")].round().long()
        found["severity"] = _by_value(severity.masked_fill(severity < 1, -1))  # 0 for changes without severities
    found["class"] = _by_value(labels_of(pairs))
    return {name: grouping for name, grouping in found.items() if len(grouping.number.unique()) > 1}


def by_group(
    values: Tensor, groups: Mapping[str, Grouping], source: Tensor, *, over: Tensor | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    r"""Means, and shares of something else, group by group, with intervals over sources.

    .. math:: \bar v_G = \frac{1}{|G|} \sum_{i \in G} v_i, \qquad
        \text{share}_G = \frac{\sum_{i \in G} v_i}{\sum_{i \in G} w_i}

    Args:
        values: One number per pair :math:`v`.
        groups: Ways to sort the pairs, by name.
        source: Source of each pair.
        over: Denominators :math:`w` of the shares; none are given without them.

    Returns:
        Way, then name of the group, to ``pairs``, ``sources``, ``mean``, ``low``, ``high``, and the same for ``share``.
        Groups without a pair are left out; ends are ``None`` for a group of one source.

    Raises:
        ValueError: If numbers of groups do not fit the pairs or the names.

    Example:
        >>> which = Grouping(torch.tensor([0, 0, 1, 1]), ("fog", "snow"))
        >>> found = by_group(torch.tensor([1.0, 3.0, 5.0, 7.0]), {"condition": which}, torch.arange(4))
        >>> {name: entry["mean"] for name, entry in found["condition"].items()}
        {'fog': 2.0, 'snow': 6.0}
    """
    return {
        way: {
            name: _entry(values[rows], source[rows], None if over is None else over[rows])
            for name, rows in members(grouping, len(values), way).items()
        }
        for way, grouping in groups.items()
    }


def members(grouping: Grouping, count: int, name: str = "grouping") -> dict[str, Tensor]:
    """Rows of the pairs of each group that has any.

    Raises:
        ValueError: If the numbers are not one per pair, or name no group.
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
    rows = {named_: (number == index).nonzero()[:, 0] for index, named_ in enumerate(names)}
    return {named_: chosen for named_, chosen in rows.items() if len(chosen)}


def _entry(values: Tensor, source: Tensor, over: Tensor | None) -> dict[str, Any]:
    share = {} if over is None else named(figure(values, source, over), "share")
    return {"pairs": len(values), "sources": len(source.unique()), **figure(values, source), **share}


def _by_value(numbers: Tensor) -> Grouping:
    """Groups of equal whole numbers; below 0 is none."""
    found = [int(number) for number in numbers.unique() if number >= 0]
    place = torch.searchsorted(torch.tensor(found or [0]), numbers.contiguous())
    return Grouping(place.masked_fill(numbers < 0, -1), tuple(map(str, found)))
