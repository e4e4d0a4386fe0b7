"""Angular consistency with a guide, and active units: measures of Sabour et al. (2016), sec. 4.

The source is Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets.rows import named_rows


def angular_consistency(
    points: Float[Tensor, "B m D"], guides: Float[Tensor, "B D"], neighbours: Float[Tensor, "B k D"]
) -> Float64[Tensor, "B m"]:
    r"""Mean cosine of the angles under which a guide's neighbours see a point and the guide.

    .. math:: \Omega(z, g) = \frac1k \sum_{i=1}^k
        \frac{\langle x_i - z,\, x_i - g \rangle}{\|x_i - z\|\, \|x_i - g\|} \le 1

    1 for the guide itself. A neighbour that equals the point or the guide has no direction to it and does not count.
    Inner products are relative to the guide in float64 and distances from differences, so that nearly equal points keep
    their digits; no more than the features and ``[B, m, k]`` numbers are held.

    It needs no fit, but with far more features than neighbours it is mostly a distance too: an offset e from the guide
    orthogonal to :math:`x_i - g` has the cosine :math:`(1 + \|e\|^2 / \|x_i - g\|^2)^{-1/2}`, whatever its direction,
    so a point much nearer to the guide than its neighbours scores near 1; independent points of a high-dimensional
    cloud, equally far from each other, score 1/2. Compare with natural points of the same guide and distance.

    Args:
        points: Points z of each guide: adversaries, or natural ones that are not among the neighbours.
        guides: Guides g.
        neighbours: Neighbours :math:`x_i` of each guide.

    Returns:
        Ω of each point, within -1 and 1.

    Raises:
        ValueError: If there are no neighbours, all equal the guide or a point, features do not fit together, or are not
            finite.

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
    counts = (to_point > 0) & (to_guide > 0)
    if bool((equal := ~counts.any(2)).any()):
        raise ValueError(
            f"neighbours must differ from guides and points, got none that does in {named_rows(equal.any(1))}: leave "
            "out images that are there twice"
        )
    cosine = (inner / (to_point * to_guide)).clamp(-1, 1)  # rounding apart, Cauchy-Schwarz
    return cosine.masked_fill(~counts, 0).sum(2) / counts.sum(2)


def sparsity_change(
    adversary: Float[Tensor, "B D"], source: Float[Tensor, "B D"], *, threshold: float = 0.0
) -> Float64[Tensor, " B"]:
    r"""Share of active units of adversaries less that of their sources.

    .. math:: \Delta S = \frac1D \big( |\{ i : a_i > t \}| - |\{ i : s_i > t \}| \big)

    Args:
        adversary: Features a of adversaries.
        source: Features s of their sources.
        threshold: Value t above which a unit is active; 0 for a ReLU, before or after it.

    Returns:
        Differences within -1 and 1; above 0 where the adversary has more active units.

    Raises:
        ValueError: If a row has no active unit in either, features do not fit together, or are not finite.

    Example:
        >>> sparsity_change(torch.tensor([[1.0, 2, 0, 3]]), torch.tensor([[1.0, 0, 0, 0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    first, second = _active(threshold, adversary=adversary, source=source)
    return in_double(first).mean(1) - in_double(second).mean(1)


def active_overlap(
    first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], *, threshold: float = 0.0
) -> Float64[Tensor, " B"]:
    r"""Share of the units active in at least one of two representations that are active in both.

    .. math:: \frac{I}{U} = \frac{|A \cap B|}{|A \cup B|}, \qquad A = \{ i : a_i > t \},\ B = \{ i : b_i > t \}

    Two independent representations with shares a and b of active units have about ab / (a + b - ab), a third where half
    are active: compare with natural images.

    Args:
        first: Features of adversaries, say.
        second: Features of their sources or guides.
        threshold: Value t above which a unit is active.

    Returns:
        Shares from 0, none in common, to 1, the same units.

    Raises:
        ValueError: If a row has no active unit in either, features do not fit together, or are not finite.

    Example:
        >>> active_overlap(torch.tensor([[1.0, 2, 0, 3]]), torch.tensor([[5.0, 0, 1, 1]]))  # 2 of 4
        tensor([0.5000], dtype=torch.float64)
    """
    one, other = _active(threshold, first=first, second=second)
    return in_double((one & other).sum(1)) / in_double((one | other).sum(1))


def check_features(**named: Tensor) -> None:
    """Checks that features ``[B, D]`` or ``[B, m, D]``, given by name, fit together and are finite.

    Raises:
        TypeError: If features are no floating point numbers.
        ValueError: If they differ in their number of rows or of features, or one is not finite.
    """
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    if len({(shape[0], shape[-1]) for shape in shapes.values()}) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"features must be of equally many rows (first) and features (last), got {got}")
    for name, value in named.items():
        if not value.is_floating_point():
            raise TypeError(f"{name} must be floating point features, got {value.dtype}: convert them by .float()")
        if not bool((finite := value.isfinite().flatten(1).all(1)).all()):
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in {named_rows(~finite)}: look at the images and the layer"
            )


def _active(threshold: float, **named: Tensor) -> tuple[Bool[Tensor, "B D"], Bool[Tensor, "B D"]]:
    check_features(**named)
    one, other = (value > threshold for value in named.values())
    if bool((dead := ~(one | other).any(1)).any()):
        raise ValueError(
            f"{' or '.join(named)} must have an active unit, above {threshold}, got none in {named_rows(dead)}: the "
            "layer is dead there, or its output ends below 0 (choose the layer before, or lower the threshold)"
        )
    return one, other
