r"""Distances of adversaries relative to those among natural images, and their ranks within a class of these.

The source is Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 3.
Distances are :math:`d(x, y) = \|\phi(x) - \phi(y)\|_2` between features, computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from augment.double_precision import double_device, in_double
from perturbsets._types import Labels, PerImage, Rows
from perturbsets.representations.bank import Bank, block_rows
from perturbsets.representations.neighbours import Neighbours, nearest_neighbours
from perturbsets.rows import named_rows


def distance_ratio(
    adversary: Float[Tensor, "B D"], guide: Float[Tensor, "_ _"], source: Float[Tensor, "_ _"]
) -> PerImage:
    r"""The distance to the guide that is left, as a share of the source's.

    .. math:: \frac{d(\alpha, g)}{d(s, g)}

    0 at the guide, 1 where nothing was gained. All arguments are features, a row per image.

    Raises:
        ValueError: If a source has the same features as its guide, or one is not finite.

    Example:
        >>> source, guide = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
        >>> distance_ratio(torch.tensor([[3.0, 3.0]]), guide, source).tolist()
        [0.2]
    """
    whole = _distance(source, guide)
    if bool((same := whole == 0).any()):
        raise ValueError(
            f"source and guide must have different features, got equal ones in {named_rows(same)}: "
            "take another guide, or another layer"
        )
    return _distance(adversary, guide) / whole


def relative_distance(
    points: Float[Tensor, "B D"], others: Float[Tensor, "_ _"], scale: Float[Tensor, " _"]
) -> PerImage:
    r"""Distances between pairs of points, relative to a distance that is usual among natural images.

    .. math:: \frac{d(\alpha, g)}{\bar d_1(g)}, \qquad \frac{d(\alpha, s)}{\bar d(s)}

    for adversaries and their guides, with the scale from :func:`nearest_in_class` of the guides' classes (below 1 an
    adversary is nearer to its guide than natural images are to each other); or for adversaries and their sources, with
    the scale from :func:`spread_in_class` of the sources' classes (above 1 an adversary is further from its source than
    images of a class are from each other).

    Args:
        points: Features of the adversaries, a row per image.
        others: Features of their guides, or of their sources.
        scale: A mean distance per image, above 0.

    Raises:
        ValueError: If a mean distance is not above 0, or a feature is not finite.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [3.0]])}, torch.tensor([7, 7, 7]))
        >>> nearest, spread = (mean(bank, "fc", torch.tensor([7])) for mean in (nearest_in_class, spread_in_class))
        >>> nearest.tolist(), relative_distance(torch.tensor([[5.0]]), torch.tensor([[3.0]]), nearest).tolist()
        ([1.3333333333333333], [1.5])
        >>> spread.tolist(), relative_distance(torch.tensor([[5.0]]), torch.tensor([[0.0]]), spread).tolist()
        ([2.0], [2.5])
    """
    distances = _distance(points, others)
    if scale.shape != distances.shape:
        raise ValueError(f"scale must be one mean for each of {len(others)} images, got {list(scale.shape)}")
    if not bool((above := scale > 0).all()):  # NaN fails too
        raise ValueError(
            f"scale must be above 0, got {scale[~above][0]:.4g} for image {int((~above).nonzero()[0])}: its class "
            "holds nothing but copies of one representation"
        )
    return distances / scale


def nearest_in_class(bank: Bank, layer: str, classes: Labels) -> PerImage:
    r"""Mean distance of a class's images to their nearest neighbours in it, one mean per entry of `classes`.

    .. math:: \bar d_1(c) = \frac{1}{n_c} \sum_{i \in c} \min_{j \in c,\, j \ne i} d(x_i, x_j)

    Raises:
        ValueError: If a class has fewer than 2 images in the bank.
    """
    return per_class(lambda label: nearest_distance(bank, layer, label), classes)


def spread_in_class(bank: Bank, layer: str, classes: Labels) -> PerImage:
    r"""Mean distance between two images of a class, over all pairs, one mean per entry of `classes`.

    .. math:: \bar d(c) = \frac{2}{n_c (n_c - 1)} \sum_{i < j \in c} d(x_i, x_j)

    Raises:
        ValueError: If a class has fewer than 2 images in the bank.
    """
    return per_class(lambda label: pair_distance(bank, layer, label), classes)


def per_class(measure: Callable[[int], float], classes: Labels) -> PerImage:
    """A number of the class of each image; every class is measured once."""
    values = {label: measure(label) for label in classes.unique().tolist()}
    device = double_device(classes.device)
    return torch.tensor([values[label] for label in classes.tolist()], dtype=torch.float64, device=device)


def nearest_distance(bank: Bank, layer: str, label: int) -> float:
    """The mean of :func:`nearest_in_class` for one class."""
    return float(member_distances(bank, layer, [label], neighbours=1)[label].mean())


def pair_distance(bank: Bank, layer: str, label: int) -> float:
    """The mean of :func:`spread_in_class` for one class, summed block by block."""
    members, total = bank.members(label, 2), 0.0
    origin = in_double(bank.features(layer, members[:1]))  # products of small numbers cancel less, and copies give 0
    for rows, features in bank.blocks(layer, rows=members):
        some = in_double(features) - origin
        total += float(torch.cdist(some, some).triu(1).sum())
        for _, others in bank.blocks(layer, rows=members[members > rows[-1]]):
            total += float(torch.cdist(some, in_double(others) - origin).sum())
    return 2 * total / (len(members) * (len(members) - 1))


def _distance(first: Tensor, second: Tensor) -> PerImage:
    if first.shape != second.shape:
        raise ValueError(f"features must be of one shape, got {list(first.shape)} and {list(second.shape)}")
    distance = (in_double(first) - in_double(second)).norm(dim=1)
    if not bool((finite := distance.isfinite()).all()):
        raise ValueError(f"features must be finite, got NaN or infinity in {named_rows(~finite)}")
    return distance


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

    Adversaries that aim at a label have no guide: their ranks and tangents are taken at this image.

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
