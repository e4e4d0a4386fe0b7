"""How many dimensions the plane around a guide has, by the likelihood of neighbours that were left out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets.representations.tangent import Scatter, check_scatter, rounding_variance
from perturbsets.row_names import named_rows


class DimensionChoice(NamedTuple):
    """A dimension for all guides, and what others would give.

    Attributes:
        dimension: The dimension q, 1 or more, of the highest mean over guides.
        held_out: Mean log-likelihood in nats of the left-out neighbours ``[B, Q + 1]``, for each guide and every
            dimension from 0 (no plane: where this is highest, the neighbours show none) to the largest.
    """

    dimension: int
    held_out: Float64[Tensor, "B dimensions"]


def choose_dimension(
    neighbours: Float[Tensor, "B n D"],
    centre: Float[Tensor, "B D"] | None = None,
    *,
    largest: int | None = None,
    scatter: Scatter = "centre",
) -> DimensionChoice:
    r"""Chooses the dimension of the plane under which left-out neighbours are likeliest.

    .. math:: q = \arg\max_{q \ge 1} \sum_g \frac1n \sum_{i=1}^n L_{q,-i}(x_i)

    with :math:`L_{q,-i}` the log-likelihood of :meth:`ProbabilisticPCA.fit` on all neighbours of g but the i-th, with
    the same centre and scatter. One q serves all guides, as likelihoods of different planes do not compare. Neighbours
    are turned into their own n coordinates once, in which all fits for all q are made together: the number D of
    features costs one QR decomposition a guide.

    With one left out, q goes up to n - 2 about the guides (13 of 15), to n - 3 about the mean: one less than in a fit.

    Args:
        neighbours: Neighbours :math:`x_i` of each guide g.
        centre: Where the means are moved, as in the fit.
        largest: Largest dimension tried; by default as many as the neighbours of every guide allow.
        scatter: About what the scatter is taken, as in the fit.

    Returns:
        The dimension and the whole curve.

    Raises:
        ValueError: If there are no guides, too few neighbours or features, some lie in a plane of the largest dimension
            or of 1, features do not fit together, or are not finite.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> plane = torch.randn(40, 15, 2, generator=draw) @ torch.randn(40, 2, 100, generator=draw)
        >>> choose_dimension(plane + 0.1 * torch.randn(40, 15, 100, generator=draw)).dimension
        2
    """
    check_scatter(neighbours, centre, scatter)
    count, width = neighbours.shape[1:]
    moved = centre is not None and scatter == "centre"
    most = min(count - 2 if moved else count - 3, width - 1)
    if not len(neighbours) or most < 1:
        raise ValueError(
            f"neighbours must be of at least 1 guide, {3 if moved else 4} each with 2 features or more, "
            f"got {tuple(neighbours.shape)}"
        )
    if largest is not None and not 1 <= largest <= most:
        raise ValueError(f"largest must be 1 to {most} for {count} neighbours of {width} features, got {largest}")
    held_out, noise = _leave_one_out(neighbours, centre, moved, most if largest is None else largest)
    leaves = noise > rounding_variance(neighbours)[:, None]
    needed = 1 if largest is None else largest
    if not bool(leaves[:, needed].all()):
        raise ValueError(
            f"neighbours must leave a plane of dimension {needed} also where one is left out, got none that do in "
            f"{named_rows(~leaves[:, needed])}: leave out images that are there twice, or try a smaller largest "
            "dimension"
        )
    held_out = held_out[:, leaves.all(0)]  # the noise falls with the dimension: these are the first ones
    return DimensionChoice(int(held_out.mean(0)[1:].argmax()) + 1, held_out)


def _leave_one_out(neighbours: Tensor, centre: Tensor | None, moved: bool, largest: int) -> tuple[Tensor, Tensor]:
    """Mean log-likelihoods of left-out neighbours, and the least noise of the fits, for dimensions 0 to the largest."""
    count, width = neighbours.shape[1:]
    points = in_double(neighbours)
    if centre is not None:
        points = torch.cat([points, in_double(centre)[:, None]], 1)
    turned = torch.linalg.qr((points - points[:, :count].mean(1, keepdim=True)).mT, mode="r")[1].mT
    held = turned[:, :count]
    place = torch.arange(count, device=held.device)
    others = place.expand(count, count)[place[:, None] != place].view(count, count - 1)
    kept = held[:, others]
    means = kept.mean(2)
    middle = means if centre is None else turned[:, count:].expand_as(means)
    _, singular, axes = torch.linalg.svd(kept - (middle if moved else means)[:, :, None])
    variances = singular.square() / (count - 1)
    squares = (axes @ (held - middle)[..., None])[..., 0].square()
    outside = width - torch.arange(largest + 1, device=held.device)
    noise = _from_here_on(variances)[..., : largest + 1] / outside
    along = _before_here((squares[..., :largest] / variances[..., :largest]) + variances[..., :largest].log())
    off = _from_here_on(squares)[..., : largest + 1] / noise + outside * noise.log()
    return -0.5 * (width * math.log(2 * math.pi) + along + off).mean(1), noise.amin(1)


def _from_here_on(values: Tensor) -> Tensor:
    return values.flip(-1).cumsum(-1).flip(-1)


def _before_here(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values.cumsum(-1), (1, 0))
