r"""A map of the whole space onto the ball that takes the standard normal to the normal conditioned on the ball.

.. math:: T(y) = \tau(\|y\|)\, y / \|y\|, \qquad F(\tau(r)) = F(r)\, F(\epsilon)

with F the distribution function of the norm of a standard normal vector. If y is standard normal, T(y) is standard
normal conditioned on :math:`\|u\| \le \epsilon`, so that

.. math:: \mathbb E_{u \sim N_\epsilon} p(\tilde x \mid u, x) = \mathbb E_{y \sim N(0, I)} p(\tilde x \mid T(y), x).

An integral over the right side knows no boundary: any distribution of y puts all of its mass inside the ball, and a
posterior that is pressed against the surface of the ball has a smooth peak at a finite y.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from perturbsets._types import Offsets, PerImage, Rows
from perturbsets.sets.chi import chi_quantile, log_chi_cdf, norms_in_ball

LEAST_NORM = 1e-4  # below it the map is linear
FARTHEST = 0.999  # share of the prior's norms below the point that stands for an offset outside of the ball

Points = Float[Tensor, "*N B Z"]
Matrices = Float[Tensor, "B Z Z"]


class Transport:
    r"""The map T of pairs, and its derivatives.

    With :math:`r = \|y\|`, :math:`n = y / r` and :math:`m(r) = \tau(r) / r` the Jacobian is the symmetric
    :math:`J = m I + (\tau' - m)\, n n^\top`, where

    .. math:: \ln \tau' = (d - 1) \ln \tfrac r\tau - \tfrac{r^2 - \tau^2}2 + \ln F(\epsilon).

    Args:
        radii: Radii of the balls, 0 to infinity, float64.
        size: Number of coordinates d.
    """

    def __init__(self, radii: PerImage, size: int) -> None:
        self.radii, self.size = radii, size

    def __call__(self, points: Points) -> Points:
        """Offsets in the ball."""
        norms = self._norms(points)
        return points * (self._inside(norms) / norms)

    def keep(self, rows: Rows) -> Transport:
        """That of some of the pairs."""
        return Transport(self.radii[rows], self.size)

    def back(self, offsets: Offsets) -> Offsets:
        r"""Points that T takes to given offsets, or to offsets near them.

        Args:
            offsets: Offsets. Those outside of the ball or just below its surface have no point, or one very far away:
                the result has the norm that 99.9 % of standard normal vectors do not exceed, or that of the nearest
                offset in the ball if it is larger.
        """
        norms = offsets.norm(dim=1).clamp_min(torch.finfo(offsets.dtype).tiny)
        inside = torch.minimum(norms, self.radii)
        shares, whole = (log_chi_cdf(bound.cpu().numpy(), self.size) for bound in (inside, self.radii))
        limit = np.full_like(whole, np.inf)
        with np.errstate(invalid="ignore"):  # both logarithms are -inf at radius 0
            found = chi_quantile(np.fmin(shares - whole, np.log(FARTHEST)), self.size, limit)
        return offsets * (torch.maximum(torch.from_numpy(found).to(inside), inside) / norms)[:, None]

    def pull(self, points: Points, gradients: Points) -> Points:
        """Gradients with respect to points, from those with respect to the offsets: J times them."""
        norms = self._norms(points)
        ratio, slope, _ = self._slopes(norms)
        direction = points / norms
        return ratio * gradients + (slope - ratio) * direction * (direction * gradients).sum(-1, keepdim=True)

    def curvature(self, points: Offsets, gradients: Offsets, curvature: Matrices) -> Matrices:
        r"""Second derivatives of :math:`h(T(y)) + \frac12 \|y\|^2`, from those of h.

        .. math:: J (\nabla^2 h) J + m' (n e^\top + e n^\top)
            + (e^\top y) \big(m'' n n^\top + \tfrac{m'}r (I - n n^\top)\big) + I, \qquad e = \nabla h

        Args:
            points: Points y.
            gradients: Gradients e at T(y).
            curvature: Second derivatives of h at T(y), or an approximation.
        """
        norms = self._norms(points)
        ratio, slope, bend = self._slopes(norms)
        direction, one = points / norms, torch.eye(self.size).to(points)
        radial = direction[:, :, None] * direction[:, None]
        first = (slope - ratio) / norms
        second = (bend - 2 * first) / norms
        along = (gradients * points).sum(1, keepdim=True)[..., None]
        mixed = direction[:, :, None] * gradients[:, None]
        jacobian = ratio[..., None] * one + (slope - ratio)[..., None] * radial
        bent = second[..., None] * radial + (first / norms)[..., None] * (one - radial)
        return jacobian @ curvature @ jacobian + first[..., None] * (mixed + mixed.mT) + along * bent + one

    def _norms(self, points: Points) -> Tensor:
        return points.norm(dim=-1, keepdim=True).clamp_min(LEAST_NORM)

    def _inside(self, norms: Tensor) -> Tensor:
        radii = self.radii[:, None].expand(norms.shape)
        return torch.from_numpy(norms_in_ball(norms.cpu().numpy(), self.size, radii.cpu().numpy())).to(norms)

    def _slopes(self, norms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The ratio :math:`\tau / r` and the first and second derivative of τ; zero in a ball of radius 0."""
        inside, more = self._inside(norms), self.size - 1
        safe = inside.clamp_min(torch.finfo(norms.dtype).tiny)
        whole = torch.from_numpy(log_chi_cdf(self.radii.cpu().numpy(), self.size)).to(norms)[:, None]
        slope = (more * (norms / safe).log() - (norms.square() - safe.square()) / 2 + whole).exp()
        slope = slope.masked_fill(inside == 0, 0)
        bend = slope * (more / norms - norms - slope * (more / safe - safe))
        return inside / norms, slope, bend.masked_fill(inside == 0, 0)
