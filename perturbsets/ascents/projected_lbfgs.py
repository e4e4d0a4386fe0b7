"""Quasi-Newton ascent with bounds: L-BFGS on the coordinates that are free to move."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Flags, Offsets, Rows
from perturbsets.ascents.base import CHECK_EVERY, Active, Best, GradientBased, check_at_least_one
from perturbsets.objectives.base import Loss
from perturbsets.sets.balls import L2Ball
from perturbsets.sets.base import Region, Starts


class Curvature:
    r"""The latest moves and changes of gradient of every image, and the quasi-Newton steps they imply.

    .. math:: s = u_{t+1} - u_t, \qquad y = \nabla_t - \nabla_{t+1}, \qquad H y = s

    A pair is stored where the loss is concave along the move, :math:`\langle s, y \rangle > 0`; with such pairs
    alone the matrix H is positive definite, and :math:`H \nabla` climbs. Every image has a ring of ``memory`` pairs.

    References:
        Nocedal, *Updating quasi-Newton matrices with limited storage*, 1980;
        Nocedal and Wright, *Numerical optimization*, 2006, algorithm 7.4;
        Chen, Wang and Zhou, *Large-scale L-BFGS using MapReduce*, 2014 (the recursion on products alone).
    """

    def __init__(self, like: Offsets, memory: int) -> None:
        self._pairs = like.new_zeros(len(like), 2, memory, like.shape[1])  # moves and changes of gradient
        self._lengths = like.new_zeros(len(like), memory)  # of the moves
        self._count = torch.zeros(len(like), dtype=torch.int64, device=like.device)  # pairs taken in since forgetting

    def remember(self, move: Offsets, change: Offsets, rows: Flags) -> Flags:
        """Stores a pair of those images in ``rows`` whose loss is concave along the move; returns which these are."""
        length = move.norm(dim=1)
        rows = rows & _bends_down(torch.linalg.vecdot(move, change), length, change.norm(dim=1), move.dtype)
        slot, every = self._count % self._pairs.shape[2], torch.arange(len(rows), device=rows.device)
        for kind, taken in enumerate((move, change)):
            self._pairs[every, kind, slot] = taken.where(rows[:, None], self._pairs[every, kind, slot])
        self._lengths[every, slot] = length.where(rows, self._lengths[every, slot])
        self._count = self._count + rows
        return rows

    def forget(self, rows: Flags) -> None:
        """Drops all pairs of some of the images."""
        self._count = self._count.masked_fill(rows, 0)

    def newton(self, gradient: Offsets, free: Tensor) -> tuple[Offsets, Flags]:
        r"""The step :math:`H \nabla` on the free coordinates.

        Pairs are cut to the free coordinates first, so that those held at a bound take no part; a pair along which
        the loss is not concave there is left out. Returns the steps, zero where coordinates are held, and for which
        images there was a pair to build on.
        """
        count, _, memory, size = self._pairs.shape
        # All that the recursion needs of the long vectors are their products: one pass over the memory, not many.
        pairs, cut = self._pairs.flatten(1, 2), gradient.new_empty(count, memory + 1, size)
        torch.mul(self._pairs[:, 1], free[:, None], out=cut[:, :memory])
        torch.mul(gradient, free, out=cut[:, memory])
        products = in_double(cut @ pairs.mT)
        taken_in, lengths = self._count.to(products.device)[:, None], self._lengths.to(products)
        age = torch.arange(memory, device=products.device)
        newest_first = (taken_in - 1 - age) % memory
        places = torch.cat([newest_first, newest_first + memory], 1)
        products = products.gather(2, places[:, None].expand(-1, memory + 1, -1))
        along = products[:, memory]
        products = products[:, :memory].gather(1, newest_first[..., None].expand(-1, -1, 2 * memory))
        bends, squares = products[..., :memory].mT, products[..., memory:]
        bend, square = bends.diagonal(dim1=1, dim2=2), squares.diagonal(dim1=1, dim2=2)
        length = lengths.gather(1, newest_first)
        sound = (age < taken_in) & _bends_down(bend, length, square.sqrt(), gradient.dtype)
        triangle = torch.where(sound[:, :, None] & sound[:, None], bends, 0).tril()
        triangle = triangle + torch.diag_embed((~sound).to(bends))
        right = (along[:, :memory] * sound)[..., None]
        shares = torch.linalg.solve_triangular(triangle, right, upper=False)[..., 0]
        newest = sound.to(bends).argmax(1, keepdim=True)
        scale = (bend / square.where(sound, 1) * sound).gather(1, newest)
        left = along[:, memory:] - torch.linalg.vecdot(squares, shares[:, None])
        right = ((bend * shares - scale * left) * sound)[..., None]
        back = torch.linalg.solve_triangular(triangle.mT, right, upper=True)[..., 0]
        weights = torch.zeros_like(along).scatter(1, places, torch.cat([back, -scale * shares], 1))
        step = torch.addcmul((weights.to(gradient)[:, None] @ pairs)[:, 0], scale.to(gradient), gradient) * free
        return step, (scale[:, 0] > 0).to(gradient.device)

    def select(self, rows: Rows) -> Curvature:
        """Itself, without all but some of the images."""
        self._pairs, self._lengths, self._count = self._pairs[rows], self._lengths[rows], self._count[rows]
        return self


def _bends_down(bend: Tensor, length: Tensor, change: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether the loss is concave along a move by more than rounding in ``dtype``, and squares do not underflow.

    ``bend`` is the product of the move, of that ``length``, with the ``change`` of gradient, given by its norm.
    """
    precision = torch.finfo(dtype)
    return (bend > precision.eps * length * change) & (change >= precision.tiny**0.5)


ENOUGH = 1e-4  # share of the promised rise that has to come: Nocedal and Wright, 2006, sec. 3.1
GROWTH = 4.0  # of the step where the loss is not concave and its curvature gives no length


@dataclass(frozen=True)
class ProjectedLBFGS(GradientBased):
    r"""Limited-memory quasi-Newton steps, projected, with a line search for every image.

    .. math:: u(\alpha) = \Pi_B\big(u_t + \alpha H_t \nabla_t\big), \qquad
        f(u(\alpha)) \ge f(u_t) + c\, \langle \nabla_t, u(\alpha) - u_t \rangle

    with :math:`H_t` the inverse curvature of the latest moves (:class:`~perturbsets.ascents.projected_lbfgs.Curvature`)
    and :math:`c = 10^{-4}`. Where the region is a box, coordinates at a bound whose gradient points outward are held,
    and :math:`H_t` is that of the others alone. An image without curvature to build on, or whose step does not lead
    uphill, follows the gradient. Every image has a line search of its own, and each call of the model serves all.

    Args:
        steps: Number of points tried per start after the start itself, those of the line search included; each costs
            one forward and one backward pass.
        memory: Number of moves remembered per image.
        backtracks: Trials of one line search. An image whose search along :math:`H_t \nabla_t` fails forgets its
            curvature and follows the gradient; if that fails as well, it is at rest.
        tolerance: An image is also at rest once a move raises its value by no more than this share of it; 0 climbs on
            as far as rounding allows.
        restarts: Number of starts.
        starts: Where to begin: ``"zero"``, ``"uniform"`` in the region, or at a ``"sample"`` of the set.
        stop_on_success: Whether images whose attack succeeded, or that are at rest, leave the computation.

    Raises:
        ValueError: If a setting is outside its range, or several starts would be the same.

    References:
        Bertsekas, *Projected Newton methods for optimization problems with simple constraints*, 1982 (held
        coordinates, search along the projected path);
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1 (as an attack).
    """

    steps: int = 50
    _: KW_ONLY
    memory: int = 10
    backtracks: int = 10
    tolerance: float = 0.0
    restarts: int = 1
    starts: Starts = "zero"
    stop_on_success: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_one(memory=self.memory, backtracks=self.backtracks)
        if not self.tolerance >= 0:  # NaN fails too
            raise ValueError(f"tolerance must be 0 or more, got {self.tolerance}: it is a share of the value")

    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        climb = _Climb(region, loss, best, region.project(start).detach(), min(self.memory, self.steps))
        for step in range(self.steps + 1):
            if step % CHECK_EVERY == 0 and not climb.any_left(drop=self.stop_on_success, done=climb.resting):
                return
            if step == self.steps:
                climb.evaluate(climb.trial)
                return
            climb.judge(self.backtracks, self.tolerance)
            climb.propose()


class _Climb(Active):
    """Where every image is, which point it tries next, and what it knows of the curvature."""

    def __init__(self, region: Region, loss: Loss, best: Best, start: Offsets, memory: int) -> None:
        super().__init__(region, loss, best)
        self.box = region.box()
        self.curvature = Curvature(start, memory)
        self.u = self.trial = start
        self.gradient = torch.zeros_like(start)
        self.value = start.new_full((len(start),), float("-inf"))  # the loss at u
        self.gain = torch.zeros_like(self.value)  # what the gradient promises for the trial
        self.size = torch.ones_like(self.value)  # of the step along the direction
        self.length = torch.ones_like(self.value)  # of the next step along the gradient
        self.reach = torch.zeros_like(self.value)  # of the trial step, before projection
        self.failures = torch.zeros_like(self.value, dtype=torch.int64)
        self.plain: Flags = torch.ones_like(self.value, dtype=torch.bool)
        self.resting: Flags = torch.zeros_like(self.plain)

    def judge(self, backtracks: int, tolerance: float) -> None:
        """Moves the images whose trial rose enough; shortens the steps of the others."""
        value, gradient = self.differentiate(self.trial)
        value, start = value.to(self.value.dtype), self.value.isneginf()
        rise = value - self.value
        enough = (self.gain > 0) & (rise >= ENOUGH * self.gain)
        taken = value.isfinite() & (start | enough)
        column = taken[:, None]
        move = self.trial - self.u
        paired = self.curvature.remember(move, self.gradient - gradient, taken & ~start)
        cut = move.norm(dim=1) < self.reach / 2
        growth = torch.where(paired | cut | start, 1.0, GROWTH).to(self.size)
        longest = 1 / torch.finfo(self.size.dtype).eps  # a longer step would drown where it began
        self.length = (growth * self.reach).clamp_max(longest).where(taken & ~start, self.length)
        shrink = (self.gain / (2 * (self.gain - rise))).nan_to_num(0.1).clamp(0.1, 0.5)  # the top of a parabola
        grown = torch.where(paired, 1.0, (growth * self.size).clamp_max(longest))
        self.size = torch.where(taken, grown, shrink * self.size)
        self.u = self.trial.where(column, self.u)
        self.gradient = gradient.where(column, self.gradient)
        self.value = value.where(taken, self.value)
        self.failures = (self.failures + 1).masked_fill(taken, 0)
        ended = ~taken & ((self.failures >= backtracks) | (self.gain <= 0))
        settled = taken & ~start & (rise <= tolerance * value.abs())
        self.resting = self.resting | (ended & self.plain) | settled
        lost = ended & ~self.plain
        self.curvature.forget(lost)
        self.failures = self.failures.masked_fill(lost, 0)

    def propose(self) -> None:
        """Computes the next trial points."""
        if self.box is None:
            free = torch.ones_like(self.u, dtype=torch.bool)
        else:
            low, high = self.box  # a coordinate at a bound is held while the gradient points outward
            free = ~(((self.u <= low) & (self.gradient < 0)) | ((self.u >= high) & (self.gradient > 0)))
        plain = L2Ball(1.0).steepest(self.gradient * free)
        newton, curved = self.curvature.newton(self.gradient, free)
        fresh = self.failures == 0
        self.plain = torch.where(fresh, ~curved, self.plain)
        self._aim(plain, newton, fresh)
        self.plain = self.plain | (fresh & ~(self.gain > 0))  # projected, the Newton step does not lead uphill
        self._aim(plain, newton, fresh)

    def _aim(self, plain: Offsets, newton: Offsets, fresh: Flags) -> None:
        """The trial points along the gradient, of unit length here, or along the Newton step."""
        self.size = torch.where(fresh & self.plain, self.length, self.size)
        step = self.size[:, None] * torch.where(self.plain[:, None], plain, newton)
        self.reach = step.norm(dim=1)
        self.trial = self.region.project(self.u + step).where(~self.resting[:, None], self.u)
        self.gain = torch.linalg.vecdot(self.gradient, self.trial - self.u)

    def select(self, left: Rows) -> None:
        super().select(left)
        self.box = self.region.box()
