"""Angular consistency: do a point and its guide lie in the same direction, seen from the guide's neighbours?"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets.representations.feature_checks import check_features
from perturbsets.row_names import named_rows


def angular_consistency(
    points: Float[Tensor, "B m D"], guides: Float[Tensor, "B D"], neighbours: Float[Tensor, "B k D"]
) -> Float64[Tensor, "B m"]:
    r"""Mean cosine of the angles under which a guide's neighbours see a point and the guide.

    .. math:: \Omega(z, g) = \frac1k \sum_{i=1}^k
        \frac{\langle x_i - z,\, x_i - g \rangle}{\|x_i - z\|\, \|x_i - g\|} \le 1

    1 for the guide itself. A neighbour that equals the point or the guide has no direction to it and does not count.
    Inner products are taken from the guide in float64 and distances from differences, so that nearly equal points keep
    their digits; no more than the features and ``[B, m, k]`` numbers are held.

    It knows no plane and needs no fit, but where features are far more than neighbours it too is mostly a distance:
    an offset e from the guide that is at a right angle to :math:`x_i - g` has the cosine
    :math:`(1 + \|e\|^2 / \|x_i - g\|^2)^{-1/2}`, whatever its direction, so a point much nearer to the guide than its
    neighbours scores near 1; and independent points of a high-dimensional cloud, which are all equally far from each
    other, score 1/2. Compare with natural points of the same guide, and mind their distances.

    Args:
        points: Points z of each guide: adversaries, or natural ones that are not among the neighbours.
        guides: Guides g.
        neighbours: Neighbours :math:`x_i` of each guide.

    Returns:
        Ω of each point, within -1 and 1.

    Raises:
        ValueError: If there are no neighbours, all equal the guide or a point, features do not fit together, or are not
            finite.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.

    Example:
        >>> guide, neighbours = torch.tensor([[0.0, 0]]), torch.tensor([[[3.0, 0], [0, 3]]])
        >>> angular_consistency(torch.tensor([[[0.0, 0], [3, 3]]]), guide, neighbours)  # opposite corners: right angles
        tensor([[1., 0.]], dtype=torch.float64)
    """
    check_features(points=points, guides=guides, neighbours=neighbours)
    origin = in_double(guides)[:, None]
    point, neighbour = in_double(points) - origin, in_double(neighbours) - origin
    to_guide = neighbour.norm(dim=2)[:, None]
    to_point = torch.cdist(point, neighbour, compute_mode="donot_use_mm_for_euclid_dist")
    inner = to_guide.square() - point @ neighbour.mT
    seen = (to_point > 0) & (to_guide > 0)
    if bool((blind := ~seen.any(2)).any()):
        raise ValueError(
            f"neighbours must differ from guides and points, got none that does in {named_rows(blind.any(1))}: leave "
            "out images that are there twice"
        )
    cosine = (inner / (to_point * to_guide)).clamp(-1, 1)  # rounding apart, Cauchy-Schwarz
    return cosine.masked_fill(~seen, 0).sum(2) / seen.sum(2)
