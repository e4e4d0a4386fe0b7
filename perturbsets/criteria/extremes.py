"""Searches for the members of a set nearest to given images, and farthest from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perturbsets._types import Flags, Images, Offsets, PerImage
from perturbsets.ascents import Ascent, Best, ProjectedLBFGS, RandomSearch
from perturbsets.model_call import given_or_fresh, preserve_state
from perturbsets.objectives import ApproximationError, FunctionObjective, Loss
from perturbsets.printing import Printed
from perturbsets.sets import LatentBall, PerturbationSet, Region

HELD = 1e-3  # share of the identity error below which further starts could gain little


@dataclass(frozen=True)
class Nearest(Printed):
    """The nearest members found in balls of R rising radii.

    Attributes:
        errors: Mean squared difference per pixel ``[R, B]``; it does not rise with the radius.
        offsets: Their offsets ``[R, B, Z]``.
        finite: Whether all decoded images were finite.
    """

    errors: Tensor
    offsets: Tensor
    finite: Flags


def nearest_members(
    perturbations: LatentBall,
    clean: Images,
    changed: Images,
    radii: Sequence[float],
    main: int,
    *,
    start: Offsets,
    steps: int,
    restarts: int,
    curve_steps: int,
    generator: torch.Generator | None = None,
) -> Nearest:
    r"""Searches the nearest members in balls of several radii.

    .. math:: \min_{\|u\| \le \epsilon_r} \tfrac1m \|g(x, u) - \tilde x\|^2, \qquad \epsilon_1 < \dots < \epsilon_R

    The main radius is searched from the given offsets, and from random points where these do not lead near. The others
    begin where their neighbour towards the main one ended, so that few steps suffice. Finally, points of smaller balls
    replace those of larger balls where they are nearer.

    Images are in [0, 1], x̃ the changed ones; radii rise, in prior standard deviations, and ``main`` is the position of
    the main one. The first offsets need not be projected. There are ``steps`` from each of ``restarts`` starts (the
    given one included) at the main radius, and ``curve_steps`` at each other.
    """
    with preserve_state(None, clean.device):
        loss = ApproximationError().at(None, clean, changed)
        regions = [replace(perturbations, radius=radius).at(clean) for radius in radii]
        search = climbing(regions[main], ProjectedLBFGS(steps))
        best = {main: search(regions[main], loss, start=start)}
        far = (-best[main].loss > HELD * squared_difference(clean, changed)).nonzero()[:, 0]
        if restarts > 1 and len(far) and isinstance(search, ProjectedLBFGS):
            again = replace(search, restarts=restarts - 1, starts="uniform")
            other = again(regions[main].select(far), loss.select(far), generator=given_or_fresh(generator))
            _replace_worse(best[main], other, far)
        walk = climbing(regions[main], ProjectedLBFGS(curve_steps))
        for place in reversed(range(main)):
            best[place] = walk(regions[place], loss, start=best[place + 1].offsets)
        for place in range(main + 1, len(radii)):
            best[place] = walk(regions[place], loss, start=best[place - 1].offsets)
    ordered = [best[place] for place in range(len(radii))]
    errors, nearest = (-torch.stack([each.loss for each in ordered])).cummin(0)
    offsets = torch.stack([each.offsets for each in ordered]).take_along_dim(nearest[..., None], 0)
    return Nearest(errors, offsets, torch.stack([each.finite for each in ordered]).all(0))


def farthest_members(
    perturbations: PerturbationSet, clean: Images, ascent: Ascent, *, generator: torch.Generator | None = None
) -> Best:
    r"""Searches the members farthest from the clean images, :math:`\max_{u \in B} \tfrac1m \|g(x, u) - x\|^2`.

    The ascent is used if the set is differentiable; otherwise members are drawn.
    """
    with preserve_state(None, clean.device):
        loss: Loss = FunctionObjective(squared_difference).at(None, clean, clean)
        region = perturbations.at(clean)
        return climbing(region, ascent)(region, loss, generator=given_or_fresh(generator))


def climbing(region: Region, ascent: Ascent) -> Ascent:
    """The ascent, or random search where it does not fit the region or images do not depend on offsets."""
    if ascent.misfit(region) is not None:
        return RandomSearch(20)
    with torch.enable_grad():
        depends = region.decode(region.centre().requires_grad_()).requires_grad
    return ascent if depends else RandomSearch(1)


def squared_difference(images: Images, others: Images) -> PerImage:
    """Mean squared difference per pixel."""
    return (images - others).square().flatten(1).mean(1)


def check_finite(finite: Flags, rows: Tensor, name: str = "perturbations") -> None:
    """Refuses images that are not finite, which some named thing made of the pairs at these positions."""
    bad = rows[~finite.to(rows.device)].tolist()
    if bad:
        listed = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        raise ValueError(
            f"{name} must make finite images, got NaN or infinity for {len(bad)} of {len(rows)} pairs ({listed}): look "
            "at these pairs and at the norms of their encodings, or fit the model again with a lower learning rate"
        )


def _replace_worse(best: Best, other: Best, rows: Tensor) -> None:
    """Replaces the results of rows where another search was better."""
    better = other.loss > best.loss[rows]
    best.loss[rows] = torch.where(better, other.loss, best.loss[rows])
    best.offsets[rows] = torch.where(better[:, None], other.offsets, best.offsets[rows])
    best.finite[rows] &= other.finite
