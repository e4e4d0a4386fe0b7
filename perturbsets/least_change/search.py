"""The search under every least change: linearise, take the least step that should suffice, and look again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from perturbsets import model_call
from perturbsets._types import Model, Offsets, PerImage, Samples
from perturbsets.label_states import label_states
from perturbsets.least_change.constraints import constraints, pattern_reached
from perturbsets.purity import ordinary, untouched
from perturbsets.sets.base import PerturbationSet
from perturbsets.smallest_radius import SmallestRadius

Solve = Callable[[Tensor, Tensor, Offsets, Offsets], Offsets]
"""From rows A, needed b, and a box: the least w within it with A w at least b; NaN where there is none."""
BETTER = 1e-3  # share of the norm that a find must gain
PATIENCE = 3  # rounds without one
NEAR = 1e-3  # distance to a boundary, in offsets, of which a share is gone beyond at least


def least_change(
    model: Model,
    images: Samples,
    targets: Tensor,
    perturbations: PerturbationSet,
    solve: Solve,
    norm: Callable[[Offsets], PerImage],
    *,
    steps: int,
    overshoot: float,
    margin: float,
) -> SmallestRadius:
    r"""Goes to the linearised pattern until it is reached, then along it towards zero offsets.

    .. math:: u \leftarrow \begin{cases}
        u + \arg\min \{\|r\| : m_j + \nabla m_j^\top r \ge \gamma + \eta\, |m_j - \gamma|\} &
        \text{the pattern is not reached at } u \\
        u + (1 - \eta) (w - u),\ w = \arg\min \{\|w\| : m_j + \nabla m_j^\top (w - u) \ge \gamma\} & \text{it is}
        \end{cases}

    with the margins m of the labels asked for. The first form ends a share η of what a margin lacked beyond the
    boundary, and leaves as much of what it had; the second stays inside. So nothing that counts as found lies on a
    boundary within rounding, and a better find has to be nearer by a thousandth; an image without one in 3 rounds is
    done.

    Args:
        model: The multi-label classifier; judged in evaluation mode and left as it was.
        images: Clean samples.
        targets: States asked for, NaN where a label is free.
        perturbations: The set.
        solve: Gives the least vectors in a box that meet linear constraints.
        norm: What is least.
        steps: Largest number of rounds.
        overshoot: Share η.
        margin: Margin γ, in logits.

    Returns:
        Norms, samples and calls.

    Raises:
        ValueError: If a setting is outside its range, nothing can climb in the set, or samples, targets or logits are
            not as they must be.
    """
    if steps < 1 or not 0 < overshoot < 1 or not margin >= 0:
        raise ValueError(
            "steps must be at least 1, overshoot in (0, 1) and margin 0 or more, got "
            f"steps={steps}, overshoot={overshoot}, margin={margin}"
        )
    with untouched(model, images.device) as model:
        images = images.detach().clone()
        region = perturbations.at(images)
        if not region.searchable:
            raise ValueError(f"perturbations must be a set that can be climbed, got {type(perturbations).__name__}")
        targets = label_states(ordinary(targets), len(images), each_known=False).to(images.device)
        u, best = region.centre(), images.clone()
        nearest = u.new_full((len(u),), torch.inf)
        calls = torch.zeros(len(u), dtype=torch.int64, device=u.device)
        clean = torch.zeros(len(u), dtype=torch.bool, device=u.device)
        idle, rows = torch.zeros_like(calls), torch.arange(len(u), device=u.device)
        for step in range(steps + 1 if len(u) else 0):
            found = constraints(model, region, targets, u, margin=margin)
            calls[rows] += 1
            if step == 0:
                clean = found.reached
                if not torch.equal(found.images, images):  # offset 0 of a learned set is not the sample itself
                    clean = pattern_reached(model_call.logits(model, images).detach(), targets, margin)
                    calls += 1
            size = norm(u)
            gained = found.reached & (size < (1 - BETTER) * nearest[rows])
            idle[rows] = torch.where(gained, 0, idle[rows] + nearest[rows].isfinite())
            nearest[rows[gained]], best[rows[gained]] = size[gained], found.images[gained]
            on = (nearest[rows] > 0) & (idle[rows] < PATIENCE)
            if step == steps or not bool(on.any()):
                break
            if not bool(on.all()):
                left = on.nonzero()[:, 0]
                region, u, targets, rows = region.keep(left), u[left], targets[left], rows[left]
                found = type(found)(*(part[left] for part in found))
            inside = found.reached[:, None]
            carried = u * inside  # w = u + r is least inside of the pattern, w = r outside
            box = region.box()
            low, high = box if box is not None else (torch.full_like(u, -torch.inf), torch.full_like(u, torch.inf))
            lacking = margin - found.margins
            beyond = overshoot * torch.maximum(lacking.abs(), NEAR * found.slopes.norm(dim=2))
            needed = lacking + torch.where(inside, torch.einsum("blz,bz->bl", found.slopes, carried), beyond)
            needed = needed.masked_fill(~found.asked, -torch.inf)
            least = solve(found.slopes, needed, low - u + carried, high - u + carried)
            idle[rows[least.isnan().any(1)]] = PATIENCE
            share = torch.where(inside, 1 - overshoot, 1.0)
            u = region.project(u + share * (least - carried).nan_to_num(0))
        return SmallestRadius(nearest, best, calls, clean)
