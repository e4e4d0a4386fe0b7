"""The necessary subset property: is every real change in the set, or near it?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Images, Offsets, PerImage
from perturbsets.criteria.extremes import Nearest, check_finite, nearest_members, squared_difference
from perturbsets.criteria.figures import NecessaryCurve, check_shares, curve_radii, figure, named, spread
from perturbsets.criteria.groups import Grouping, by_group, groups_of, members
from perturbsets.criteria.pairs import PairBatch, Pairs, batches, check_held_out, mismatched
from perturbsets.intervals import share_interval
from perturbsets.sets.latent import LatentBall

MATCHED = ("identity", "reconstruction", "encoding", "search")
CLOSE = 0.01  # a share left below which two generators copy equally well
HALF = 0.5  # what leaves more than half of a change did not copy it
SLACK = 1.1  # rounding and unequal luck of the two searches
NEAR = 1e-6  # of a probability to 0 and 1, which would make a single wrong pixel infinitely bad


@dataclass(frozen=True)
class NecessaryResult:
    """Errors per pair, on the CPU: mean squared differences per pixel, but for the excess.

    Attributes:
        identity: ``‖x − x̃‖²``, what no set at all gives.
        centre: ``‖g(x, 0) − x‖²``, how far the member at offset 0, the only one at radius 0, is from the clean image.
        centre_largest: Largest absolute difference of a pixel between those two.
        reconstruction: At the encoding, wherever it lies.
        encoding: At the encoding, projected onto the ball.
        search: At the best point found in the ball; an upper bound of the minimum.
        excess: Binary cross-entropy of x̃ under that point, in nats per pixel, over the least there is: that of x̃ with
            itself.
        mismatched_search: The same, with x of one source and x̃ of another.
        mismatched_identity: ``‖x − x̃‖²`` of those.
        source: Source of each pair.
        norms: Norm of each pair's encoding, in prior standard deviations, before it is projected.
        offsets: Where in the ball the search ended ``[N, Z]``, in prior standard deviations.
        curve: The search errors over radii.
        groups: Ways to sort the pairs, by name.
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
        """The least error that the generator was seen to leave at any offset, in the ball or out of it."""
        return self.reconstruction.minimum(self.curve.search.amin(0)).minimum(self.encoding)

    @property
    def left(self) -> PerImage:
        r"""Share of each pair's change that the nearest member leaves, :math:`e_i / \max(d_i, \bar d / 100)`.

        With e the search error and d the identity error: a pair that hardly changes is measured against a hundredth of
        the mean change, since nothing could be divided by its own.
        """
        return _left(self.search, self.identity)

    def worst(self, count: int = 8) -> Tensor:
        """Positions of the pairs of which the nearest member leaves the largest shares, the worst first.

        Args:
            count: How many; fewer if there are fewer pairs.
        """
        return self.left.argsort(descending=True, stable=True)[:count]

    def copied(self) -> tuple[Flags, float]:
        r"""Which mismatched pairs the set comes as near to as to a typical real change, and how near that is.

        .. math:: \text{left}_i^{\text{mismatched}} \le 1.1\, c, \qquad
            c = \operatorname{clip}(\operatorname{median} \text{left},\ 0.01,\ 0.5)

        Under a set that treats a foreign image like a real change about half of the pairs or more are; under a set of
        real changes hardly any.
        """
        level = SLACK * min(max(float(self.left.median()), CLOSE), HALF)
        return _left(self.mismatched_search, self.mismatched_identity) <= level, level

    def summary(self) -> dict[str, Any]:
        """Means, quantiles, and two kinds of shares, with intervals over sources.

        ``share`` is the mean error over the mean identity error. ``above_floor`` is the mean of what an error has above
        :attr:`floor`, over the mean of what the identity error has above it: of what the generator can explain, the
        share that goes unexplained; ``None`` for a generator that explains nothing. The floor is never a divisor.
        """
        copied, level = self.copied()
        figures: dict[str, Any] = {"pairs": len(self.source), "sources": len(self.source.unique())}
        for name in (*MATCHED, "centre", "floor", "mismatched_search", "mismatched_identity"):
            errors: Tensor = getattr(self, name)
            identity = self.mismatched_identity if name.startswith("mismatched") else self.identity
            entry = {**figure(errors, self.source), **spread(errors)}
            entry |= named(figure(errors, self.source, identity), "share")
            if name in MATCHED:
                above = figure(errors - self.floor, self.source, self.identity - self.floor)
                entry |= named(above, "above_floor")
            figures[name] = entry
        return {
            **figures,
            "centre_largest": {**figure(self.centre_largest, self.source), **spread(self.centre_largest)},
            "norms": {**figure(self.norms, self.source), **spread(self.norms)},
            "excess": {**figure(self.excess, self.source), **spread(self.excess)},
            "copied": {**share_interval(copied, self.source)._asdict(), "level": level},
            "curve": self.curve.summary(self.identity, self.mismatched_identity, self.source),
            "groups": by_group(self.search, self.groups, self.source, over=self.identity),
            "worst": [
                {"pair": row, "source": int(self.source[row]), "share": float(self.left[row])}
                for row in self.worst().tolist()
            ],
        }


@dataclass(frozen=True)
class NecessarySubset:
    r"""Measures how near a latent ball comes to held-out changed images.

    .. math:: \delta = \mathbb E_{x, \tilde x} \min_{\|u\| \le \epsilon} \tfrac1m \|g(x, u) - \tilde x\|^2

    The minimum is searched by quasi-Newton steps, from the projected encoding and, for pairs that this leaves further
    away than a thousandth of their change, from random points: it lies in a narrow valley, along which gradient steps
    creep. On mismatched pairs the same error should stay large: a decoder that can copy anything shows there. Both
    are also measured over other radii, from where the search of the next radius ended.

    Args:
        steps: Steps of each search.
        restarts: Starts of each search: the encoding, then random points.
        curve: Further radii, as rising shares of the set's own; none for no curve.
        curve_steps: Steps at each of them.

    Raises:
        ValueError: If a number is below 1, or the shares are not above 0, finite and rising.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, definition 1.
    """

    steps: int = 50
    restarts: int = 3
    curve: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 1.5)
    curve_steps: int = 12

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "curve_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_shares(self.curve)

    def __call__(
        self,
        perturbations: LatentBall,
        pairs: Pairs,
        *,
        groups: Mapping[str, Grouping] | None = None,
        generator: torch.Generator | None = None,
    ) -> NecessaryResult:
        """Measures.

        Args:
            perturbations: The set; its radius must be one finite number.
            pairs: Pairs that were neither trained on nor used to choose the radius.
            groups: Ways to sort the pairs; those that they know themselves if not given.
            generator: For the random starts.

        Returns:
            Errors per pair.

        Raises:
            ValueError: If there are no pairs, the set was learned from them, they have one source only or no changes,
                groups do not fit them, the radius is not one finite number, or the generator gives NaN or infinity.
        """
        check_held_out(perturbations, pairs)
        radii, main = curve_radii(perturbations.radius, self.curve)
        device = perturbations.device
        groups = groups_of(pairs) if groups is None else groups
        for name, grouping in groups.items():
            members(grouping, len(pairs), name)

        def search(part: PairBatch, rows: Tensor, start: Offsets) -> Nearest:
            check_finite(start.isfinite().all(1), rows, "encodings")
            found = nearest_members(
                perturbations,
                part.clean,
                part.changed,
                radii,
                main,
                start=start,
                steps=self.steps,
                restarts=self.restarts,
                curve_steps=self.curve_steps,
                generator=generator,
            )
            check_finite(found.finite, rows)
            return found

        unlimited = replace(perturbations, radius=math.inf)
        matched = []
        for part, rows in _numbered(batches(pairs, device=device)):
            start = perturbations.at(part.clean).encode(part.changed)
            found = search(part, rows, start)
            nearest = _at(perturbations, part.clean, found.offsets[main])
            encoded = [_at(of, part.clean, start) for of in (unlimited, perturbations)]
            centre = _at(perturbations, part.clean, torch.zeros_like(start))
            errors = [squared_difference(other, part.changed) for other in (part.clean, *encoded)]
            errors += [squared_difference(centre, part.clean), (centre - part.clean).abs().flatten(1).amax(1)]
            check_finite(torch.stack(errors).isfinite().all(0), rows)
            excess = cross_entropy_excess(nearest, part.changed)
            matched.append([*errors, excess, start.norm(dim=1), found.offsets[main], found.errors.T, part.source])
        foreign = []
        for part, rows in _numbered(mismatched(pairs, device=device)):
            start = perturbations.at(part.clean).encode(part.changed)
            foreign.append([squared_difference(part.clean, part.changed), search(part, rows, start).errors.T])
        identity, reconstruction, encoding, centre, centre_largest, excess, norms, offsets, curve, source = _joined(
            matched
        )
        mismatched_identity, mismatched_curve = _joined(foreign)
        if not float(identity.sum()) > 0:
            raise ValueError(
                "pairs must hold changes, got changed images that all equal the clean ones: look at how they were made"
            )
        return NecessaryResult(
            identity=identity,
            centre=centre,
            centre_largest=centre_largest,
            reconstruction=reconstruction,
            encoding=encoding,
            search=curve[:, main],
            excess=excess,
            mismatched_search=mismatched_curve[:, main],
            mismatched_identity=mismatched_identity,
            source=source,
            norms=norms,
            offsets=offsets,
            curve=NecessaryCurve(radii, curve.T, mismatched_curve.T),
            groups=groups,
        )


def cross_entropy_excess(images: Images, changed: Images) -> PerImage:
    r"""How much worse images explain changed ones than these explain themselves, as Bernoulli pixels.

    .. math:: \tfrac1m \sum_i \tilde x_i \ln \frac{\tilde x_i}{g_i}
        + (1 - \tilde x_i) \ln \frac{1 - \tilde x_i}{1 - g_i}

    Binary cross-entropy compares a generator only with itself where grey values lie between 0 and 1: its least value is
    their entropy. What is above it is this Kullback-Leibler divergence, zero for equal images.

    Args:
        images: Images g in [0, 1]; values nearer than 1e-6 to a bound count as that far from it.
        changed: Images x̃ in [0, 1].

    Returns:
        The excess per image, in nats per pixel.
    """
    near = images.clamp(NEAR, 1 - NEAR)
    least = torch.xlogy(changed, changed) + torch.xlogy(1 - changed, 1 - changed)
    return (least - torch.xlogy(changed, near) - torch.xlogy(1 - changed, 1 - near)).flatten(1).mean(1)


@torch.no_grad()
def _at(perturbations: LatentBall, clean: Images, offsets: Offsets) -> Images:
    region = perturbations.at(clean)
    return region.decode(region.project(offsets))


def _left(errors: PerImage, identity: PerImage) -> PerImage:
    least = max(float(identity.mean()) / 100, torch.finfo(identity.dtype).tiny)
    return errors / identity.clamp_min(least)


def _numbered(parts: Iterator[PairBatch]) -> Iterator[tuple[PairBatch, Tensor]]:
    """Batches, each with the positions of its pairs among all."""
    begin = 0
    for part in parts:
        yield part, torch.arange(begin, begin + len(part.source))
        begin += len(part.source)


def _joined(rows: list[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(column).cpu() for column in zip(*rows, strict=True)]
