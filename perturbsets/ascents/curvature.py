"""What a quasi-Newton ascent remembers of the way, image by image."""

from __future__ import annotations

import torch
from torch import Tensor

from perturbsets._types import Flags, Offsets, PerImage, Rows


class Curvature:
    r"""The latest moves and changes of gradient of every image, and the Newton steps that they imply.

    .. math:: s = u_{t+1} - u_t, \qquad y = \nabla_t - \nabla_{t+1}, \qquad H y = s

    A pair is worth keeping where the loss bends down along the move, :math:`\langle s, y \rangle > 0`; with such pairs
    alone the matrix H is positive definite, and :math:`H \nabla` climbs. Every image has a ring of pairs of its own.

    Args:
        like: Offsets, for shape, dtype and device.
        memory: Number of pairs per image.

    References:
        Nocedal, *Updating quasi-Newton matrices with limited storage*, 1980;
        Nocedal and Wright, *Numerical optimization*, 2006, algorithm 7.4.
    """

    def __init__(self, like: Offsets, memory: int) -> None:
        self._moves = like.new_zeros(memory, *like.shape)
        self._changes = like.new_zeros(memory, *like.shape)
        self._count = torch.zeros(len(like), dtype=torch.int64, device=like.device)  # pairs taken in since forgetting

    def remember(self, move: Offsets, change: Offsets, rows: Flags) -> Flags:
        """Takes in a pair of the images in ``rows`` whose loss bends down; tells which these are."""
        rows = rows & _bends_down(move, change)
        slot = self._count % len(self._moves)
        every = torch.arange(len(slot), device=slot.device)
        column = rows[:, None]
        self._moves[slot, every] = move.where(column, self._moves[slot, every])
        self._changes[slot, every] = change.where(column, self._changes[slot, every])
        self._count = self._count + rows
        return rows

    def forget(self, rows: Flags) -> None:
        """Drops all pairs of some of the images."""
        self._count = self._count.masked_fill(rows, 0)

    def newton(self, gradient: Offsets, free: Tensor) -> tuple[Offsets, Flags]:
        r"""The step :math:`H \nabla` on the free coordinates.

        Pairs are cut to the free coordinates first, so that those held at a bound take no part; a pair that no longer
        bends down there is passed over.

        Args:
            gradient: The gradient.
            free: Flags ``[B, Z]`` of the coordinates that may move.

        Returns:
            The steps, zero where coordinates are held, and for which images there was a pair to build on.
        """
        memory, every = len(self._moves), torch.arange(len(gradient), device=gradient.device)
        step = gradient * free
        scale: PerImage = torch.zeros_like(gradient[:, 0])
        passed = []
        for age in range(1, memory + 1):
            slot = (self._count - age) % memory
            move, change = self._moves[slot, every] * free, self._changes[slot, every] * free
            bend = _dot(move, change)
            sound = (age <= self._count) & _bends_down(move, change)
            share = torch.where(sound, _dot(move, step) / bend.where(sound, 1), 0)
            step = torch.addcmul(step, share[:, None], change, value=-1)
            newest = sound & (scale == 0)
            scale = torch.where(newest, bend / _dot(change, change).where(newest, 1), scale)
            passed.append((move, change, bend.where(sound, 1), sound, share))
        step = scale[:, None] * step
        for move, change, bend, sound, share in reversed(passed):
            back = torch.where(sound, share - _dot(change, step) / bend, 0)
            step = torch.addcmul(step, back[:, None], move)
        return step, scale > 0

    def keep(self, rows: Rows) -> None:
        """Forgets all but some of the images."""
        self._moves, self._changes = self._moves[:, rows], self._changes[:, rows]
        self._count = self._count[rows]


def _dot(first: Offsets, second: Offsets) -> PerImage:
    return torch.linalg.vecdot(first, second)


def _bends_down(move: Offsets, change: Offsets) -> Flags:
    """Whether the loss bends down along a move by more than rounding, and squares do not underflow."""
    squares = _dot(change, change)
    rounding = torch.finfo(move.dtype).eps * move.norm(dim=1) * squares.sqrt()
    return (_dot(move, change) > rounding) & (squares >= torch.finfo(move.dtype).tiny)
