"""Fast minimum-norm attack: the smallest adversarial change, by one descent in a ball that shrinks and grows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from perturbsets._types import Model, Offsets, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.adversaries.smallest_radius import SmallestRadius
from perturbsets.ascents.apgd import APGD
from perturbsets.ascents.base import slope
from perturbsets.model_call import check_call, ordinary, preserve_state
from perturbsets.objectives.base import Loss
from perturbsets.objectives.classification import Margin, class_numbers
from perturbsets.printing import Printed
from perturbsets.sets.pixel import BALLS, Norm, PixelBall, PixelRegion

DUALS = {"l1": math.inf, "l2": 2.0, "linf": 1.0}
LAST = 1e-2  # share of step and rate that the last step still has
RESTARTS = 5  # of the attack on images where this one fails
HALVINGS = 20  # of the way from the sample to the result of that attack


def fast_minimum_norm(
    model: Model,
    images: Samples,
    labels: Any,
    *,
    norm: Norm = "l2",
    targeted: bool = False,
    steps: int = 100,
    step_size: float = 1.0,
    rate: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
    largest: float | None = None,
    generator: torch.Generator | None = None,
) -> SmallestRadius:
    r"""Steps along the margin's gradient in a ball whose radius adapts to the decision boundary.

    .. math:: \epsilon \leftarrow \begin{cases}
        \min\{(1 - \gamma) \epsilon, \|u^*\|\} & x + u \text{ is misclassified} \\
        (1 + \gamma)\, \epsilon & \text{an earlier } x + u \text{ was} \\
        (1 + \gamma) \max\{\epsilon, \|u\| + m(x + u) / \|\nabla m\|_*\} & \text{otherwise} \end{cases}, \qquad
        u \leftarrow \Pi_\epsilon\big(u - \alpha\, \nabla m / \|\nabla m\|_2\big)

    with m the margin by which the model is still right, :math:`u^*` the smallest adversarial change so far, and step
    :math:`\alpha` and rate :math:`\gamma` that shrink as cosines. It gives the whole curve of accuracy over the radius.

    Other than published there is a factor :math:`1 + \gamma` in the last case, without which the boundary is never
    crossed, and the dual norm is over the values that bounds let move. Images on which it fails are attacked by
    :class:`APGD` at the largest radius; bisection then finds the boundary, from where they take the steps once more.

    Args:
        model: The classifier; evaluated in evaluation mode and left as it was.
        images: Clean samples.
        labels: Their classes, or targets.
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        targeted: Whether labels are targets.
        steps: Number of steps of each run, and of each start of APGD.
        step_size: First step :math:`\alpha > 0`, an L2 length relative to the range of the values, if that is finite.
        rate: First rate :math:`\gamma`, in (0, 1).
        bounds: Smallest and largest value; infinite for none.
        largest: Radius of APGD, above 0 and finite; by default the distance to the farthest corner of the bounds.
        generator: For the random starts of APGD; one of seed 0 if not given.

    Returns:
        The result. A radius is infinite only where APGD failed too.

    Raises:
        ValueError: If a setting is outside its range, or samples, labels or logits are not as they must be.

    References:
        Pintor et al., *Fast minimum-norm adversarial attacks through adaptive norm constraints*, 2021, algorithm 1.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x = torch.rand(5, 1, 2, 2)
        >>> result = fast_minimum_norm(model, x, model(x).argmax(1), norm="linf")
        >>> result.accuracy(torch.tensor([0.0, 0.1])).shape
        torch.Size([2])
    """
    check_call(model, images)
    if steps < 1 or not step_size > 0 or not 0 < rate < 1:
        raise ValueError(
            "steps must be at least 1, step_size above 0 and rate in (0, 1), got "
            f"steps={steps}, step_size={step_size}, rate={rate}"
        )
    if largest is None and not math.isfinite(bounds[1] - bounds[0]):
        raise ValueError(f"largest must be given where bounds are infinite, got {bounds}: for example largest=10.0")
    if largest is not None and not 0 < largest < math.inf:
        raise ValueError(f"largest must be above 0 and finite, got {largest}")
    with preserve_state(model, images) as model:
        images, labels = images.detach().clone(), class_numbers(ordinary(labels), images)
        box = PixelBall(norm, math.inf, bounds=bounds).at(images)
        loss = Margin(targeted=targeted).at(model, images, labels)
        width = bounds[1] - bounds[0]
        climb = _Climb(norm, steps, step_size * (width if math.isfinite(width) else 1.0), rate)
        u, nearest = climb(box, loss, box.centre())
        best, calls = box.decode(u).detach(), torch.full_like(nearest, steps + 1, dtype=torch.int64)
        clean = nearest == 0  # it starts at the sample itself
        rows = nearest.isinf().nonzero()[:, 0]
        if len(rows):
            corner = float(box.ball.norm(torch.maximum(-box.low, box.high)).amax()) if largest is None else largest
            ascent = APGD(steps, restarts=RESTARTS, stop_on_success=True)
            attack = Adversary(PixelBall(norm, corner, bounds=bounds), Margin(targeted=targeted), ascent)
            result = attack(model, images[rows], labels[rows], generator=generator or torch.Generator().manual_seed(0))
            calls[rows] += result.calls
            rows = rows[result.success]
            some, loss = box.select(rows), loss.select(rows)
            u, nearest[rows] = climb(some, loss, _boundary(some, loss, result.offsets[result.success]))
            best[rows] = some.decode(u).detach()
            calls[rows] += HALVINGS + steps + 1
        return SmallestRadius(nearest, best, calls, clean)


def _boundary(box: PixelRegion, loss: Loss, far: Offsets) -> Offsets:
    """Misclassified offsets between zero and other misclassified ones, near the boundary, by bisection."""
    low, high = far.new_zeros(len(far), 1), far.new_ones(len(far), 1)
    with torch.no_grad():
        for _ in range(HALVINGS if len(far) else 0):
            middle = (low + high) / 2
            success = loss(box.decode(middle * far), middle * far)[1][:, None]
            low, high = low.where(success, middle), middle.where(success, high)
    return high * far


@dataclass(frozen=True)
class _Climb(Printed):
    """The steps of a batch from given offsets to the smallest misclassified ones."""

    norm: str
    steps: int
    step_size: float
    rate: float

    def __call__(self, box: PixelRegion, loss: Loss, start: Offsets) -> tuple[Offsets, PerImage]:
        """The offsets and their norms; zero and infinity where none are misclassified."""
        u, best = box.project(start), box.centre()
        radius = box.ball.norm(u)
        nearest, tiny = torch.full_like(radius, math.inf), torch.finfo(radius.dtype).tiny
        for step in range(self.steps + 1 if len(u) else 0):
            u = u.detach().requires_grad_()
            value, success = loss(box.decode(u), u)
            gradient, u = slope(value, u), u.detach()
            size = box.ball.norm(u)
            closer = success & (size < nearest)
            nearest, best = size.where(closer, nearest), u.where(closer[:, None], best)
            if step == self.steps:
                break
            shrunk = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            movable = gradient.where((u < box.high) & (gradient > 0) | (u > box.low) & (gradient < 0), 0)
            dual = torch.linalg.vector_norm(movable, DUALS[self.norm], dim=1).clamp_min(tiny)
            edge = size - value.detach() / dual  # where a linear model has its boundary
            outwards = torch.where(nearest.isfinite(), radius, radius.maximum(edge)) * (1 + shrunk * self.rate)
            radius = torch.where(success, torch.minimum(radius * (1 - shrunk * self.rate), nearest), outwards)
            ball = BALLS[self.norm](radius)
            target = u + shrunk * self.step_size * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(tiny)
            u = ball.project_in_box(target, *ball.cut(box.low, box.high))
        return best, nearest
