"""Groups of pairs: figures by corruption, severity and class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perturbsets.criteria.figures import figure, named
from perturbsets.criteria.pairs import Pairs
from perturbsets.criteria.sources import labels_of


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
