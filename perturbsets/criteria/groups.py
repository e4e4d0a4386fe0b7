"""Results by group of pairs: condition, severity and class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perturbsets.criteria.figures import figure, named
from perturbsets.criteria.pairs import Pairs, labels_of


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
        some, unit = values[rows], source[rows]
        share = {} if over is None else named(figure(some, unit, over[rows]), "share")
        return {"pairs": len(rows), "sources": len(unit.unique()), **figure(some, unit), **share}

    return {
        way: {name: entry(rows) for name, rows in members(grouping, len(values), way).items()}
        for way, grouping in groups.items()
    }


def members(grouping: Grouping, count: int, name: str = "grouping") -> dict[str, Tensor]:
    """Rows of the pairs of each group that has any; refuses numbers that are not one per pair, or not of a group."""
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
