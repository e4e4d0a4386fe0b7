"""The manifold around a guide as a normal distribution along a plane: probabilistic principal components."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets.printing import Printed
from perturbsets.representations.units import check_features
from perturbsets.rows import check_choice, named_rows

Scatter = Literal["centre", "mean"]


@dataclass(frozen=True)
class ProbabilisticPCA(Printed):
    r"""Probabilistic PCA of each guide's neighbours: a normal density along a plane of dimension q.

    .. math:: L(z) = -\tfrac12 \Big[ D \ln 2\pi + \sum_{j=1}^q \ln \lambda_j + (D - q) \ln \sigma^2
        + \sum_{j=1}^q \frac{\langle u_j, z - c \rangle^2}{\lambda_j}
        + \frac{\|z - c\|^2 - \sum_{j=1}^q \langle u_j, z - c \rangle^2}{\sigma^2} \Big]

    is the logarithm of the density of :math:`N(c,\, W W^\top + \sigma^2 I)` with
    :math:`W = U (\Lambda - \sigma^2 I)^{1/2}`, in float64. :meth:`fit` estimates it.

    Limits of :math:`L` with far more features than neighbours (4096 and 15):

    - Neighbours span n - 1 directions. All others share one :math:`\sigma^2`, an average over D - q directions of which
      the neighbours span n - 1 - q. So :math:`L` is dominated by the distance from the plane, its size grows with D,
      and it compares points of one guide, layer and q, not layers.
    - The fitted neighbours lie nearer to their plane than others, the more so the larger q is. Compare with held-out
      natural points: the close and the far ones of the same guide.
    - :math:`L(c + t v) - L(c) = t^2\, (L(c + v) - L(c))`: a point gains by being near the guide in any direction. A
      higher value than that of a natural point farther away does not mean that it lies on the manifold.

    Args:
        centre: Means c, a row per guide.
        axes: Orthonormal axes :math:`u_j` of the planes, a column each.
        variances: Variances :math:`\lambda_1 \ge \dots \ge \lambda_q` along them.
        noise: Variances :math:`\sigma^2` in every other direction, above 0.

    References:
        Tipping and Bishop, *Probabilistic principal component analysis*, 1999, equations 7 and 8; Sabour, Cao, Faghri
        and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.

    Example:
        >>> cross = torch.tensor([[[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]]])
        >>> pca = ProbabilisticPCA.fit(cross, dimension=1)
        >>> round(float(pca.variances), 6), round(float(pca.noise), 6)  # (4 + 4) / 4 along, (1 + 1) / 4 in two others
        (2.0, 0.25)
    """

    centre: Float64[Tensor, "B D"]
    axes: Float64[Tensor, "B D q"]
    variances: Float64[Tensor, "B q"]
    noise: Float64[Tensor, " B"]

    @classmethod
    def fit(
        cls,
        neighbours: Float[Tensor, "B n D"],
        dimension: int,
        centre: Float[Tensor, "B D"] | None = None,
        *,
        scatter: Scatter = "centre",
    ) -> ProbabilisticPCA:
        r"""The maximum-likelihood distribution of each guide's neighbours, with its mean moved to the guide.

        .. math:: S = \frac1n \sum_{i=1}^n (x_i - m)(x_i - m)^\top, \qquad
            \sigma^2 = \frac{1}{D - q} \sum_{j > q} \lambda_j

        with :math:`\lambda_j, u_j` the descending eigenvalues and the eigenvectors of S. Of the D - q averaged ones at
        most n are above 0; all count (scikit-learn's ``PCA`` divides by :math:`\min(n, D) - q` and S by n - 1). They
        come from the n × n triangle of a QR decomposition: no D × D matrix is made, nor is the condition squared.

        By default m = c, which is the likeliest distribution with that centre. With m the mean of the neighbours the
        distribution is fitted where they are, then moved. The two differ by
        :math:`(\bar x - c)(\bar x - c)^\top`: around a guide on a curved manifold the mean lies off the tangent plane,
        in the direction of the curvature, which a scatter about the guide may take for one of the plane. A scatter
        about the mean keeps the plane along the neighbours; its noise is too small around the guide.

        Args:
            neighbours: Neighbours :math:`x_i` of each guide.
            dimension: Dimension q of the plane, from 0 (no plane) to below the rank of the scatter: at most n - 1
                about a guide, n - 2 about the mean, and D - 1.
            centre: The new mean c, such as the guides; by default the neighbours' mean.
            scatter: ``"centre"`` for m = c, ``"mean"`` for :math:`m = \bar x`; the same without a centre.

        Raises:
            ValueError: If there are too few neighbours or features for the dimension, neighbours lie in a plane of that
                dimension up to the rounding of the features, features do not fit together, or are not finite.
        """
        _check_scatter(neighbours, centre, scatter)
        count, width = neighbours.shape[1:]
        moved = centre is not None and scatter == "centre"
        rank = min(count if moved else count - 1, width)
        if not 0 <= dimension < rank:
            raise ValueError(
                f"dimension must be 0 or more and below {rank}, got {dimension}: {count} neighbours of {width} "
                "features span no more directions, and one must be left for the noise"
            )
        values = in_double(neighbours)
        mean = values.mean(1)
        middle = mean if centre is None else in_double(centre)
        basis, triangle = torch.linalg.qr((values - (middle if moved else mean)[:, None]).mT)
        axes, singular, _ = torch.linalg.svd(triangle, full_matrices=False)
        variances = singular.square() / count
        noise = variances[:, dimension:].sum(1) / (width - dimension)
        if bool((flat := noise <= _rounding_variance(neighbours)).any()):
            raise ValueError(
                f"neighbours must leave a plane of dimension {dimension}, got none that do in {named_rows(flat)}: the "
                "noise would be 0 and the likelihood infinite. Leave out images that are there twice, or lower the "
                "dimension"
            )
        return cls(middle, basis @ axes[:, :, :dimension], variances[:, :dimension], noise)

    def log_likelihood(self, points: Float[Tensor, "B m D"]) -> Float64[Tensor, "B m"]:
        """Log-likelihoods L in nats of points, each under its own guide's distribution.

        Args:
            points: Points of each guide.

        Raises:
            ValueError: If points do not fit the guides, or are not finite.
        """
        check_features(points=points, centre=self.centre)
        width, dimension = self.axes.shape[1:]
        volume = self.variances.log().sum(1) + (width - dimension) * self.noise.log()
        return -0.5 * (width * math.log(2 * math.pi) + volume[:, None] + _squared_distance(self, points))


def likelihood_drop(
    pca: ProbabilisticPCA, points: Float[Tensor, "B m D"], guide: Float[Tensor, "B D"]
) -> Float64[Tensor, "B m"]:
    r"""Log-likelihood of points less that of their guide, under the distribution of its neighbours, in nats.

    .. math:: \Delta L(z) = L(z) - L(g)

    at most 0 where the centre is the guide. Compare adversaries with natural points that were not fitted; for its
    limits see :class:`ProbabilisticPCA`.

    Args:
        pca: Distributions of the guides' neighbours, with the guides as their centre.
        points: Points z of each guide: adversaries, close or far natural ones.
        guide: Guides g.

    Raises:
        ValueError: If points and guides do not fit the distributions, or are not finite.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.

    Example:
        >>> cross = torch.tensor([[[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]]])
        >>> guide = torch.zeros(1, 3)
        >>> pca = ProbabilisticPCA.fit(cross, dimension=1, centre=guide)
        >>> likelihood_drop(pca, torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]), guide)  # 1/2 · 1/2 along, 1/2 · 4 off
        tensor([[-0.2500, -2.0000]], dtype=torch.float64)
    """
    check_features(points=points, guide=guide, centre=pca.centre)
    return 0.5 * (_squared_distance(pca, guide[:, None]) - _squared_distance(pca, points))


def _squared_distance(pca: ProbabilisticPCA, points: Float[Tensor, "B m D"]) -> Float64[Tensor, "B m"]:
    """Squared Mahalanobis distance of points from the centre."""
    offsets = in_double(points) - pca.centre[:, None]
    along = offsets @ pca.axes
    off = offsets - along @ pca.axes.mT
    return (along.square() / pca.variances[:, None]).sum(2) + off.square().sum(2) / pca.noise[:, None]


def _check_scatter(neighbours: Tensor, centre: Tensor | None, scatter: str) -> None:
    check_choice("scatter", scatter, Scatter)
    check_features(neighbours=neighbours, **({} if centre is None else {"centre": centre}))


def _rounding_variance(neighbours: Float[Tensor, "B n D"]) -> Float64[Tensor, " B"]:
    """Variance that rounding of the features may have in each direction: a smaller noise is none."""
    unit = torch.finfo(neighbours.dtype).eps * in_double(neighbours).abs().amax((1, 2))
    return min(neighbours.shape[1:]) * unit.square()


class DimensionChoice(NamedTuple):
    """A dimension for all guides, and the held-out likelihood of every dimension.

    Attributes:
        dimension: The dimension q, 1 or more, of the highest mean over guides.
        held_out: Mean log-likelihood in nats of the left-out neighbours ``[B, Q + 1]``, for each guide and every
            dimension from 0 (no plane) to the largest.
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
    the same centre and scatter. One q serves all guides, since likelihoods of different dimensions do not compare. One
    QR decomposition per guide gives the neighbours n coordinates, in which all fits for all q are made together.

    With one left out, q goes up to n - 2 about the guides (13 of 15), to n - 3 about the mean: one less than in a fit.

    Args:
        neighbours: Neighbours :math:`x_i` of each guide g.
        centre: The new means, as in the fit.
        largest: Largest dimension tried; by default as many as the neighbours of every guide allow.
        scatter: As in the fit.

    Raises:
        ValueError: If there are no guides, too few neighbours or features, some lie in a plane of the largest dimension
            or of 1, features do not fit together, or are not finite.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> plane = torch.randn(40, 15, 2, generator=draw) @ torch.randn(40, 2, 100, generator=draw)
        >>> choose_dimension(plane + 0.1 * torch.randn(40, 15, 100, generator=draw)).dimension
        2
    """
    _check_scatter(neighbours, centre, scatter)
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
    leaves = noise > _rounding_variance(neighbours)[:, None]
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
    coordinates = torch.linalg.qr((points - points[:, :count].mean(1, keepdim=True)).mT, mode="r")[1].mT
    held = coordinates[:, :count]
    number = torch.arange(count, device=held.device)
    others = held[:, number.expand(count, count)[number[:, None] != number].view(count, count - 1)]
    means = others.mean(2)
    middle = means if centre is None else coordinates[:, count:].expand_as(means)
    _, singular, axes = torch.linalg.svd(others - (middle if moved else means)[:, :, None])
    variances = singular.square() / (count - 1)
    squares = (axes @ (held - middle)[..., None])[..., 0].square()
    outside = width - torch.arange(largest + 1, device=held.device)
    noise = _tail_sums(variances)[..., : largest + 1] / outside
    inside = squares[..., :largest] / variances[..., :largest] + variances[..., :largest].log()
    along = torch.nn.functional.pad(inside.cumsum(-1), (1, 0))
    off = _tail_sums(squares)[..., : largest + 1] / noise + outside * noise.log()
    return -0.5 * (width * math.log(2 * math.pi) + along + off).mean(1), noise.amin(1)


def _tail_sums(values: Tensor) -> Tensor:
    return values.flip(-1).cumsum(-1).flip(-1)
