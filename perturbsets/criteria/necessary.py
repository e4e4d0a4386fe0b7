"""The necessary subset property: is every real change in the set, or near it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Images, Offsets, PerImage
from perturbsets.criteria.extremes import Nearest, check_finite, nearest_members, squared_difference
from perturbsets.criteria.figures import NecessaryCurve, check_shares, curve_radii, figure, named, spread
from perturbsets.criteria.groups import Grouping, by_group, groups_of, members
from perturbsets.criteria.pairs import PairBatch, Pairs, batches, check_held_out, joined, mismatched
from perturbsets.intervals import ends, mean_interval, share_interval
from perturbsets.printing import Printed, Result
from perturbsets.sets.latent import LatentBall

MATCHED = ("identity", "reconstruction", "encoding", "search")
CLOSE = 0.01  # relative error below which two generators copy equally well
HALF = 0.5  # relative error above which a change is not copied
SLACK = 1.1  # for rounding and for differences between searches
NEAR = 1e-6  # least distance of a probability from 0 and 1, where a single wrong pixel would be infinitely bad


@dataclass(frozen=True)
class NecessaryResult(Result):
    """Errors per pair, on the CPU: mean squared differences per pixel, but for the excess.

    Attributes:
        identity: ``‖x − x̃‖²``, the error of the clean image, which is that without a set.
        centre: ``‖g(x, 0) − x‖²``, of the member at offset 0, the only one at radius 0, from the clean image.
        centre_largest: Largest absolute difference of a pixel between those two.
        reconstruction: At the encoding, wherever it is.
        encoding: At the encoding, projected onto the ball.
        search: At the best point found in the ball; an upper bound of the minimum.
        excess: Binary cross-entropy of x̃ under that point, in nats per pixel, less that of x̃ under itself.
        mismatched_search: The search error with x of one source and x̃ of another.
        mismatched_identity: ``‖x − x̃‖²`` of those.
        source: Source of each pair.
        norms: Norm of each pair's encoding, in prior standard deviations, before projection.
        offsets: Best offsets found ``[N, Z]``, in prior standard deviations.
        curve: The search errors over radii.
        groups: Groupings of the pairs, by name.
    """

    identity: PerImage
    centre: PerImage
    centre_largest: PerImage
    reconstruction: PerImage
    encoding: PerImage
    search: PerImage
    excess: PerImage
    mismatched_search: PerImage
    mismatched_identity: PerImage
    source: Tensor
    norms: PerImage
    offsets: Offsets
    curve: NecessaryCurve
    groups: Mapping[str, Grouping]

    @property
    def floor(self) -> PerImage:
        """The least error measured at any offset, in the ball or outside of it: the generator's own floor."""
        return self.reconstruction.minimum(self.curve.search.amin(0)).minimum(self.encoding)

    @property
    def left(self) -> PerImage:
        r"""Search error of each pair relative to its change, :math:`e_i / \max(d_i, \bar d / 100)`.

        With e the search error and d the identity error; a hundredth of the mean change is the least divisor.
        """
        return _left(self.search, self.identity)

    def worst(self, count: int = 8) -> Tensor:
        """Positions of the pairs with the largest relative errors (as many as there are), the worst first."""
        return self.left.argsort(descending=True, stable=True)[:count]

    def copied(self) -> tuple[Flags, float]:
        r"""Which mismatched pairs have a relative error as small as that of a typical real change, and that level.

        .. math:: \text{left}_i^{\text{mismatched}} \le 1.1\, c, \qquad
            c = \operatorname{clip}(\operatorname{median} \text{left},\ 0.01,\ 0.5)

        About half of the pairs or more for a set that treats foreign images like real changes; hardly any for a set of
        real changes.
        """
        level = SLACK * min(max(float(self.left.median()), CLOSE), HALF)
        return _left(self.mismatched_search, self.mismatched_identity) <= level, level

    @property
    def sentence(self) -> str:
        """What remains of the change at the nearest member."""
        rest, low, high = mean_interval(self.search, self.source, over=self.identity).scaled(100)
        between = ends(low, high, "{:.3g}".format, ", ")
        return f"Error of the nearest member {rest:.3g} % [{between}] of the change, mean of {len(self.source)} pairs"

    def summary(self) -> dict[str, Any]:
        """Means, quantiles, and two kinds of shares, with intervals over sources.

        ``share`` is the mean error over the mean identity error. ``above_floor`` is the mean error above :attr:`floor`
        over the mean identity error above it; ``None`` for a generator that explains nothing.
        """
        copied, level = self.copied()
        figures: dict[str, Any] = {"pairs": len(self.source), "sources": len(self.source.unique())}
        for name in (*MATCHED, "centre", "floor", "mismatched_search", "mismatched_identity"):
            errors: Tensor = getattr(self, name)
            identity = self.mismatched_identity if name.startswith("mismatched") else self.identity
            entry = {**figure(errors, self.source), **spread(errors)}
            entry |= named(figure(errors, self.source, identity), "share")
            if name in MATCHED:
                entry |= named(figure(errors - self.floor, self.source, self.identity - self.floor), "above_floor")
            figures[name] = entry
        for name in ("centre_largest", "norms", "excess"):
            figures[name] = {**figure(getattr(self, name), self.source), **spread(getattr(self, name))}
        return {
            **figures,
            "copied": {**share_interval(copied, self.source)._asdict(), "level": level},
            "curve": self.curve.summary(self.identity, self.mismatched_identity, self.source),
            "groups": by_group(self.search, self.groups, self.source, over=self.identity),
            "worst": [
                {"pair": row, "source": int(self.source[row]), "share": float(self.left[row])}
                for row in self.worst().tolist()
            ],
        }


@dataclass(frozen=True)
class NecessarySubset(Printed):
    r"""Measures the error of the nearest members of a latent ball to held-out changed images.

    .. math:: \delta = \mathbb E_{x, \tilde x} \min_{\|u\| \le \epsilon} \tfrac1m \|g(x, u) - \tilde x\|^2

    The minimum is searched by quasi-Newton steps, since it lies in a narrow valley where gradient steps are slow: from
    the projected encoding and, for pairs whose error stays above a thousandth of their change, from random points. On
    mismatched pairs the same error should stay large: it is small for a decoder that can copy anything. Both are also
    measured at other radii, from where the search of the adjacent radius ended.

    Args:
        steps: Steps of each search.
        restarts: Starts of each search: the encoding, then random points.
        curve: Further radii, as rising shares of the set's own; may be empty.
        curve_steps: Steps at each of them.

    Raises:
        ValueError: If a number is below 1, or the shares are not above 0, finite and rising.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 1.
    """

    steps: int = 50
    _: KW_ONLY
    restarts: int = 3
    curve: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 1.5)
    curve_steps: int = 12

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "curve_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_shares(self.curve)

    @torch.no_grad()
    def __call__(
        self,
        perturbations: LatentBall,
        pairs: Pairs,
        *,
        groups: Mapping[str, Grouping] | None = None,
        generator: torch.Generator | None = None,
    ) -> NecessaryResult:
        """Measures errors per pair, on pairs that were neither trained on nor used to choose the radius.

        Groupings by name are those that the pairs know themselves if not given.

        Raises:
            ValueError: If there are no pairs, the set was fitted on them, they have one source only or no changes,
                groups do not fit them, the radius is not one finite number, or decoded images are not finite.
        """
        check_held_out(perturbations, pairs)
        radii, main = curve_radii(perturbations.radius, self.curve)
        device = perturbations.device
        groups = groups_of(pairs) if groups is None else groups
        for name, grouping in groups.items():
            members(grouping, len(pairs), name)

        def search(part: PairBatch, start: Offsets) -> Nearest:
            check_finite(start.isfinite().all(1), part.row, "encodings")
            settings = {"steps": self.steps, "restarts": self.restarts, "curve_steps": self.curve_steps}
            nearest = nearest_members(
                perturbations, part.clean, part.changed, radii, main, start=start, **settings, generator=generator
            )
            check_finite(nearest.finite, part.row)
            return nearest

        matched = []
        for part in batches(pairs, device=device):
            region = perturbations.at(part.clean)
            start = region.encode(part.changed)
            nearest = search(part, start)
            offsets, centre = nearest.offsets[main], region.decode(region.centre())
            errors = {
                "identity": squared_difference(part.clean, part.changed),
                "reconstruction": squared_difference(region.decode(start), part.changed),
                "encoding": squared_difference(region.decode(region.project(start)), part.changed),
                "centre": squared_difference(centre, part.clean),
                "centre_largest": (centre - part.clean).abs().flatten(1).amax(1),
            }
            check_finite(torch.stack(list(errors.values())).isfinite().all(0), part.row)
            errors["excess"] = cross_entropy_excess(region.decode(region.project(offsets)), part.changed)
            errors |= {"norms": start.norm(dim=1), "offsets": offsets, "curve": nearest.errors.T, "source": part.source}
            matched.append(errors)
        foreign = []
        for part in mismatched(pairs, device=device):
            start = perturbations.at(part.clean).encode(part.changed)
            identity = squared_difference(part.clean, part.changed)
            foreign.append({"identity": identity, "curve": search(part, start).errors.T})
        columns, others = joined(matched), joined(foreign)
        if not float(columns["identity"].sum()) > 0:
            raise ValueError(
                "pairs must hold changes, got changed images that all equal the clean ones: look at how they were made"
            )
        curve, mismatched_curve = columns.pop("curve"), others["curve"]
        return NecessaryResult(
            **columns,
            search=curve[:, main],
            mismatched_search=mismatched_curve[:, main],
            mismatched_identity=others["identity"],
            curve=NecessaryCurve(radii, curve.T, mismatched_curve.T),
            groups=groups,
        )


def cross_entropy_excess(images: Images, changed: Images) -> PerImage:
    r"""Cross-entropy of changed images under others, less their own entropy, as Bernoulli pixels.

    .. math:: \tfrac1m \sum_i \tilde x_i \ln \frac{\tilde x_i}{g_i}
        + (1 - \tilde x_i) \ln \frac{1 - \tilde x_i}{1 - g_i}

    This Kullback-Leibler divergence, in nats per pixel, is zero for equal images, while the cross-entropy of grey
    values is not. All images are in [0, 1]; g is clamped to 1e-6 from the bounds.
    """
    near = images.clamp(NEAR, 1 - NEAR)
    least = torch.xlogy(changed, changed) + torch.xlogy(1 - changed, 1 - changed)
    return (least - torch.xlogy(changed, near) - torch.xlogy(1 - changed, 1 - near)).flatten(1).mean(1)


def _left(errors: PerImage, identity: PerImage) -> PerImage:
    least = max(float(identity.mean()) / 100, torch.finfo(identity.dtype).tiny)
    return errors / identity.clamp_min(least)
