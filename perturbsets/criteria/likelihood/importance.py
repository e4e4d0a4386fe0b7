r"""Importance sampling of the likelihood, and diagnostics of its weights.

With draws :math:`u_i` of a proposal r and weights :math:`w_i = f(u_i) / r(u_i)`, the mean weight is an unbiased
estimate of the integral of f for any proposal; but where few draws carry all weight, it is nearly always far too low.
Two figures show that: the effective number of draws, and the shape k of the tail of the weights. All functions take
logarithms of weights as a table ``[draws, pairs]`` in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double
from cvae.likelihood import GaussianLikelihood
from perturbsets._types import Draws, Images, LogWeights, Offsets, PerImage, Rows
from perturbsets.sets.latent import LatentRegion

LARGEST_K = 0.7
"""Largest shape of the tail at which an estimate is to be trusted."""
FEWEST_TAIL = 5  # weights that a tail is fitted to
TOGETHER = 256  # images decoded at a time
EXTREME = 1e-3  # Bernoulli probabilities count as at least that far from 0 and 1
NAMED = 5  # pairs named in a message

Pixels = Float[Tensor, "N B P"]
Slopes = Float[Tensor, "B P Z"]
Gain = Float[Tensor, "B Z P"]


def log_weights(target: LogWeights, proposals: Sequence[LogWeights], counts: Sequence[int]) -> LogWeights:
    r"""Logarithms of the weights of draws from several proposals at once, by the balance heuristic.

    .. math:: w_i = f(u_i) \Big/ \sum_j \tfrac{n_j}{n}\, r_j(u_i)

    Every draw is weighted against all proposals, whichever it came from. A proposal that is good in one place only does
    no harm elsewhere: a weight never exceeds :math:`n / n_j` times that under proposal j alone.

    The target is :math:`\ln f`, the proposals are :math:`\ln r_j`, each at all draws; weights are ``-inf`` where the
    target is zero.

    References:
        Veach and Guibas, *Optimally combining sampling techniques for Monte Carlo rendering*, 1995.
    """
    total = sum(counts)
    mixed = [table + math.log(count / total) for table, count in zip(proposals, counts, strict=True)]
    ratio = target - torch.stack(mixed).logsumexp(0)
    return ratio.masked_fill(target.isneginf(), -math.inf)


def log_mean(table: LogWeights) -> PerImage:
    """Logarithm of the mean weight of each pair."""
    return table.logsumexp(0) - math.log(len(table))


def effective_draws(table: LogWeights) -> PerImage:
    r"""Effective sample size of each pair.

    .. math:: \Big(\sum_i w_i\Big)^2 \Big/ \sum_i w_i^2

    From 1, where one draw carries all weight, to the number of draws. A region that no draw met does not show.

    References:
        Kong, *A note on importance sampling using standardized weights*, 1992.
    """
    return 1 / table.softmax(0).square().sum(0)


def pareto_k(table: LogWeights) -> PerImage:
    r"""Shape k of the tail of the weights of each pair: whether the mean weight has converged.

    The largest :math:`M = \min(n/5,\ 3\sqrt n)` weights, less the next one below, are fitted with a generalised Pareto
    distribution of shape k and scale :math:`\sigma`,

    .. math:: P(W > w) = (1 + k w / \sigma)^{-1/k}.

    Moments of order :math:`1/k` and above do not exist. Below ½ the variance is finite; up to 0.7 the mean can be
    trusted; above, the number of draws needed grows out of reach; above 1 there is no mean, as far as the draws show.

    Returns:
        The estimate of k, with a prior on ½ worth ten weights; ``inf`` where there are fewer than 25 draws or the tail
        is too steep for doubles, -1 (bounded weights) where the largest are all the same.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*, 2024, sec. 3;
        Zhang and Stephens, *A new and efficient estimation method for the generalized Pareto distribution*, 2009.
    """
    count = len(table)
    tail = min(count // 5, math.ceil(3 * math.sqrt(count)))
    if tail < FEWEST_TAIL:
        return torch.full_like(table[0], math.inf)
    largest = table.topk(tail + 1, dim=0).values.flip(0)
    weights = (largest - largest[-1]).exp()  # the largest is 1
    excess = weights[1:] - weights[0]
    k = generalised_pareto_shape(excess.clamp_min(torch.finfo(excess.dtype).tiny))
    steep = excess[_quartile(tail)] <= torch.finfo(excess.dtype).tiny
    k = k.masked_fill(steep | k.isnan(), math.inf).masked_fill(excess[-1] <= 0, -1.0)
    return k.masked_fill(largest[-1].isneginf(), math.inf)


def generalised_pareto_shape(excess: LogWeights) -> PerImage:
    r"""Shape k of generalised Pareto distributions, from draws of each.

    The profile likelihood is averaged over a grid of :math:`b = -k/\sigma` (with the sign of k as in the density
    :math:`(1 + k w/\sigma)^{-1/k - 1}/\sigma`), without iteration, with a prior on ½ worth ten draws. Draws are above 0
    in ascending order, one column per distribution.

    References:
        Zhang and Stephens, *A new and efficient estimation method for the generalized Pareto distribution*, 2009;
        Vehtari et al., *Pareto smoothed importance sampling*, 2024, appendix C (the weight on ½).
    """
    count = len(excess)
    points = 30 + int(math.sqrt(count))
    number = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)[:, None]
    grid = 1 / excess[-1] + (1 - (points / (number - 0.5)).sqrt()) / (3 * excess[_quartile(count)])
    shapes = torch.stack([torch.log1p(-b * excess).mean(0) for b in grid])
    profile = count * (torch.log(-grid / shapes) - shapes - 1)
    b = (grid * profile.softmax(0)).sum(0)
    shape = torch.log1p(-b * excess).mean(0)
    return (count * shape + 10 * 0.5) / (count + 10)


def _quartile(count: int) -> int:
    """Place of the first quartile among sorted values."""
    return int(count / 4 + 0.5) - 1


class OffsetLikelihood:
    r"""The likelihood :math:`p(\tilde x \mid u, x)` of numbered pairs, for many offsets u of each."""

    def __init__(self, region: LatentRegion, changed: Images, numbers: Rows) -> None:
        self.region, self.changed, self.numbers = region, changed, numbers
        self.model = region.perturbations.model

    def select(self, rows: Rows) -> OffsetLikelihood:
        """The likelihood of selected pairs, which may repeat."""
        rows = rows.to(self.changed.device)
        numbers = self.numbers[rows.to(self.numbers.device)]
        return OffsetLikelihood(self.region.select(rows), self.changed[rows], numbers)

    def __call__(self, offsets: Draws) -> tuple[LogWeights, LogWeights]:
        """Log-likelihood in nats, in float64, and mean squared error per pixel, at offsets in the ball.

        Pairs whose images are NaN or infinite there are refused.
        """
        values, errors = [], []
        changed = self.changed.flatten(1)
        for images in self._decode(offsets):
            target = changed.expand_as(images)
            errors.append((images - target).square().mean(2))
            bad = (~errors[-1].isfinite()).any(0)
            if bool(bad.any()):
                pairs = self.numbers[bad.to(self.numbers.device)].tolist()
                raise ValueError(
                    f"perturbations must decode to finite images, got NaN or infinity inside the ball on {len(pairs)} "
                    f"pairs, numbers {', '.join(map(str, pairs[:NAMED]))}{', ...' if len(pairs) > NAMED else ''}: look "
                    "at these pairs, then fit the model again or choose a smaller radius"
                )
            both = (part.reshape(-1, *self.model.shape) for part in (images, target))
            statistic = in_double(self.model.likelihood.statistic(*both))
            values.append(self.model.likelihood.log_prob(statistic, self.model.pixels).view(images.shape[:2]))
        return torch.cat(values), torch.cat(errors)

    def pull(self, offsets: Draws, gain: Gain) -> Draws:
        """The residual through a matrix per pair, ``gain @ (g - changed)``, in float64; 0 where it is not finite."""
        changed = self.changed.flatten(1)
        parts = [(gain @ (images - changed).permute(1, 2, 0)).permute(2, 0, 1) for images in self._decode(offsets)]
        return in_double(torch.cat(parts)).nan_to_num(0, 0, 0)

    def information(self, offsets: Offsets) -> Float[Tensor, "B P"]:
        r"""Fisher information of each pixel about its mean: :math:`1/s^2`, or :math:`1/g(1-g)` for Bernoulli pixels."""
        images = next(self._decode(offsets[None]))[0]
        if isinstance(self.model.likelihood, GaussianLikelihood):
            return torch.ones_like(images) / self.model.likelihood.scale.square()
        chance = images.nan_to_num(0.5).clamp(EXTREME, 1 - EXTREME)
        return 1 / (chance * (1 - chance))

    def secants(self, offsets: Offsets, lengths: Offsets, *, sides: int = 2) -> Slopes:
        """Slopes of all pixels along all coordinates, by differences over steps of given lengths.

        Differences rather than derivatives: they span the uncertainty of an offset and so the kinks of interpolated and
        clipped images, need no forward derivatives of layers, and are several times as fast in small models. They are
        central, or one-sided where ``sides`` is 1.
        """
        steps = torch.diag_embed(lengths).transpose(0, 1)
        ahead = torch.cat(list(self._decode(offsets + steps)))
        behind = torch.cat(list(self._decode(offsets - steps if sides == 2 else offsets[None])))
        return ((ahead - behind) / (sides * lengths.T[..., None])).nan_to_num(0, 0, 0).permute(1, 2, 0)

    def _decode(self, offsets: Draws) -> Iterator[Pixels]:
        """Pixels at all offsets, some draws at a time."""
        pairs = offsets.shape[1]
        for some in offsets.to(self.changed.device, self.region.dtype).split(max(1, TOGETHER // pairs)):
            many = self.region.select(torch.arange(pairs, device=some.device).repeat(len(some)))
            yield many.decode(some.flatten(0, 1)).flatten(1).unflatten(0, some.shape[:2])
