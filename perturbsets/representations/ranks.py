"""Whether a point lies among its class or at its edge: the rank of its distance to its nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import PerImage, Rows
from perturbsets.representations.bank import Bank
from perturbsets.representations.in_class import member_distances, neighbours_in_class


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

    with :math:`m` as in :func:`member_distances`. The measure of an adversary against its guide is
    :math:`\Delta r_3 = r_3(\alpha) - r_3(g)`, both in the guide's class and without the guide's own row.

    Args:
        points: Features :math:`\phi(z)`, a row per point.
        classes: The class c in which each is ranked.
        bank: The natural images.
        layer: Layer of the bank from which the points' features come.
        neighbours: Number k of neighbours, at least 1.
        exclude: A row of the bank per point that is none of its neighbours, such as the guide's; -1 for none.
        members: What :func:`member_distances` gives for the same bank, layer and number of neighbours: computed here
            if not given, and worth keeping where many points are ranked one after the other.

    Returns:
        One rank per point, from 0 (in the thick of its class) to 100 (further out than all of it).

    Raises:
        ValueError: If a class has k images or fewer (fewer than 4, for three neighbours), or `members` lacks a class.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> from perturbsets import MemoryBank
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
        usual = members[label].double().sort().values
        below, up_to = (torch.searchsorted(usual, means[some], right=right) for right in (False, True))
        ranks[some] = 50 * (below + up_to).double() / len(usual)
    return ranks.to(points.device, torch.promote_types(points.dtype, torch.float32))
