"""Neighbours within a class: distances of its images, and the rank of a point among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Labels, PerImage, Rows
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
    """The nearest images of one class, chosen per point.

    Args:
        points: Features of the points.
        classes: The class to search per point, not necessarily the point's own.
        bank: The images searched, with their labels.
        layer: Layer of the bank from which the points' features come.
        count: Number of neighbours, at least 1.
        exclude: A row of the bank per point that does not count; -1 for none.

    Raises:
        ValueError: If a class has too few images, and as for :func:`nearest_neighbours`.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [2.0]])}, torch.tensor([5, 3, 5]))
        >>> neighbours_in_class(torch.tensor([[0.9]]), torch.tensor([5]), bank, "fc", 1).rows.tolist()
        [[0]]
    """
    if classes.shape != points.shape[:1]:
        raise ValueError(f"classes must be one for each of {len(points)} points, got {list(classes.shape)}")
    if exclude is not None and exclude.shape != points.shape[:1]:
        raise ValueError(f"exclude must give a row for each of {len(points)} points, got {list(exclude.shape)}")
    shape = (len(points), count)
    result = Neighbours(
        torch.zeros(shape, dtype=torch.int64, device=points.device),
        torch.zeros(shape, dtype=torch.promote_types(points.dtype, torch.float32), device=points.device),
    )
    for label in classes.unique().tolist():
        some = (classes == label).nonzero()[:, 0].to(points.device)
        left_out = None if exclude is None else exclude.to(points.device)[some]
        members = bank.members(label, count)
        if left_out is not None and bool(torch.isin(left_out.cpu(), members).any()):
            bank.members(label, count + 1)
        nearest = nearest_neighbours(points[some], bank.blocks(layer, rows=members), count, exclude=left_out)
        result.rows[some], result.distances[some] = nearest
    return result


def member_distances(
    bank: Bank, layer: str, classes: Iterable[int], neighbours: int = 3
) -> dict[int, Float[Tensor, " _"]]:
    r"""Mean distance of each image of a class to its nearest neighbours in the class.

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
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [3.0]])}, torch.tensor([5, 5, 5]))
        >>> member_distances(bank, "fc", [5], neighbours=1)[5].tolist()
        [1.0, 1.0, 2.0]
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    distances = {}
    for label in dict.fromkeys(classes):
        members = bank.members(label, neighbours + 1)
        size = block_rows(bank.features(layer, members[:1]).shape[1])
        parts = [
            nearest_neighbours(
                in_double(bank.features(layer, some)),
                bank.blocks(layer, size=size, rows=members),
                neighbours,
                exclude=some,
            ).distances.mean(1)
            for some in members.split(size)
        ]
        distances[label] = torch.cat(parts).cpu()
    return distances


def nearest_in_predicted_class(
    adversary: Float[Tensor, "B D"],
    predictions: Rows,
    bank: Bank,
    layer: str,
    *,
    exclude: Int64[Tensor, " _"] | None = None,
) -> Labels:
    r"""The natural image nearest to each adversary within its predicted class, in place of a guide.

    .. math:: n_1(\alpha) = \arg\min_{x \,:\, y(x) = \hat y(\alpha)} \|\phi(\alpha) - \phi(x)\|_2

    Adversaries that aim at a label have no guide: their ranks and tangents are taken at this image (Sabour et al.,
    *Adversarial manipulation of deep representations*, 2016).

    Args:
        adversary: Features :math:`\phi(\alpha)`, a row per image.
        predictions: Class :math:`\hat y(\alpha)` that the network predicts for each adversary.
        bank: The natural images x and their labels y.
        layer: Layer of the bank from which the adversaries' features come.
        exclude: A row of the bank per adversary that does not count, such as its source's; -1 for none.

    Returns:
        One row of the bank per adversary.

    Raises:
        ValueError: If the bank has no image of a predicted class.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [2.0]])}, torch.tensor([5, 3, 5]))
        >>> nearest_in_predicted_class(torch.tensor([[1.1]]), torch.tensor([5]), bank, "fc").tolist()
        [2]
    """
    return neighbours_in_class(adversary, predictions, bank, layer, 1, exclude=exclude).rows[:, 0]


def rank_in_class(
    points: Float[Tensor, "B D"],
    classes: Rows,
    bank: Bank,
    layer: str,
    *,
    neighbours: int = 3,
    exclude: Int64[Tensor, " _"] | None = None,
    members: Mapping[int, Float[Tensor, " _"]] | None = None,
) -> PerImage:
    r"""Percentile rank, within a class, of the mean distance to the nearest neighbours in that class.

    .. math:: r_k(z) = \frac{100}{n_c} \Big( \#\{i \in c : m(x_i) < m(z)\}
        + \tfrac12 \#\{i \in c : m(x_i) = m(z)\} \Big)

    with :math:`m` as in :func:`member_distances`. An adversary is compared with its guide by
    :math:`\Delta r_3 = r_3(\alpha) - r_3(g)`, both in the guide's class and without the guide's own row.

    Args:
        points: Features :math:`\phi(z)`, a row per point.
        classes: The class c in which each is ranked.
        bank: The natural images.
        layer: Layer of the bank from which the points' features come.
        neighbours: Number k of neighbours, at least 1.
        exclude: A row of the bank per point that is none of its neighbours, such as the guide's; -1 for none.
        members: What :func:`member_distances` gives for the same bank, layer and number of neighbours; computed if not
            given.

    Returns:
        One rank per point, from 0 (central in its class) to 100 (further out than all of it).

    Raises:
        ValueError: If a class has k images or fewer (fewer than 4, for three neighbours), or `members` lacks a class.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [2.0], [3.0], [7.0]])}, torch.zeros(5).long())
        >>> points = torch.tensor([[1.5], [4.0], [99.0]])
        >>> rank_in_class(points, torch.tensor([0, 0, 0]), bank, "fc").tolist()
        [0.0, 60.0, 100.0]
    """
    wanted = classes.unique().tolist()
    for label in wanted:
        bank.members(label, neighbours + 1)
    if members is None:
        members = member_distances(bank, layer, wanted, neighbours)
    if missing := sorted(set(wanted) - set(members)):
        raise ValueError(f"members must hold every class asked for, got none of {missing}: see member_distances")
    nearest = neighbours_in_class(in_double(points), classes, bank, layer, neighbours, exclude=exclude)
    means = nearest.distances.mean(1).cpu()
    ranks = torch.zeros_like(means)
    for label in wanted:
        some = (classes == label).cpu()
        natural = members[label].double().sort().values
        below, up_to = (torch.searchsorted(natural, means[some], right=right) for right in (False, True))
        ranks[some] = 50 * (below + up_to).double() / len(natural)
    return ranks.to(points.device, torch.promote_types(points.dtype, torch.float32))
