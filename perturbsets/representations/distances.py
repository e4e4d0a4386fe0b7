r"""Distances of adversaries relative to those among natural images.

The source is Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 3.
Distances are :math:`d(x, y) = \|\phi(x) - \phi(y)\|_2` between features, computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import double_device, in_double
from perturbsets._types import Labels, PerImage
from perturbsets.representations.bank import Bank
from perturbsets.representations.in_class import member_distances
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
