"""Neighbours within a class."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Rows
from perturbsets.representations.bank import Bank, block_rows
from perturbsets.representations.neighbours import Neighbours, nearest_neighbours


def neighbours_in_class(
    points: Float[Tensor, "B D"],
    classes: Rows,
    bank: Bank,
    layer: str,
    count: int,
    *,
    exclude: Int64[Tensor, " _"] | None = None,
) -> Neighbours:
    """The nearest images of one class, which may be another one for each point.

    Args:
        points: Features of the points.
        classes: In which class to search, per point; no need for it to be the point's own.
        bank: The reference, whose labels tell the classes.
        layer: Layer of the bank from which the points' features come.
        count: Number of neighbours, at least 1.
        exclude: A row of the bank per point that does not count; -1 for none.

    Returns:
        Rows of the bank, and Euclidean distances.

    Raises:
        ValueError: If a class has too few images, and as for :func:`nearest_neighbours`.

    Example:
        >>> from perturbsets import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [2.0]])}, torch.tensor([5, 3, 5]))
        >>> neighbours_in_class(torch.tensor([[0.9]]), torch.tensor([5]), bank, "fc", 1).rows.tolist()
        [[0]]
    """
    if classes.shape != points.shape[:1]:
        raise ValueError(f"classes must be one for each of {len(points)} points, got {list(classes.shape)}")
    if exclude is not None and exclude.shape != points.shape[:1]:
        raise ValueError(f"exclude must give a row for each of {len(points)} points, got {list(exclude.shape)}")
    shape = (len(points), count)
    found = Neighbours(
        torch.zeros(shape, dtype=torch.int64, device=points.device),
        torch.zeros(shape, dtype=torch.promote_types(points.dtype, torch.float32), device=points.device),
    )
    for label in classes.unique().tolist():
        some = (classes == label).nonzero()[:, 0].to(points.device)
        left_out = None if exclude is None else exclude.to(points.device)[some]
        members = bank.members(label, count)
        inside = 0 if left_out is None else int(torch.isin(left_out.cpu(), members).any())
        bank.members(label, count + inside)
        nearest = nearest_neighbours(points[some], bank.blocks(layer, rows=members), count, exclude=left_out)
        found.rows[some], found.distances[some] = nearest
    return found


def member_distances(
    bank: Bank, layer: str, classes: Iterable[int], neighbours: int = 3
) -> dict[int, Float[Tensor, " _"]]:
    r"""How far the images of a class are from their nearest neighbours in it, on average over these.

    .. math:: m(x) = \frac1k \sum_{j=1}^k \|\phi(x) - \phi(n_j(x))\|_2

    with :math:`n_j(x)` the j-th nearest other image of its class.

    Args:
        bank: The images.
        layer: Layer :math:`\phi` of the bank.
        classes: Which classes.
        neighbours: Number k of neighbours, at least 1.

    Returns:
        By class one distance per image of it, in the order of ``bank.members(label)``.

    Raises:
        ValueError: If a class has k images or fewer, or k is below 1.

    Example:
        >>> from perturbsets import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [3.0]])}, torch.tensor([5, 5, 5]))
        >>> member_distances(bank, "fc", [5], neighbours=1)[5].tolist()
        [1.0, 1.0, 2.0]
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    found = {}
    for label in dict.fromkeys(classes):
        members = bank.members(label, neighbours + 1)
        size = block_rows(bank.features(layer, members[:1]).shape[1])
        parts = [
            nearest_neighbours(
                in_double(bank.features(layer, some)), bank.blocks(layer, size, members), neighbours, exclude=some
            ).distances.mean(1)
            for some in members.split(size)
        ]
        found[label] = torch.cat(parts).cpu()
    return found
