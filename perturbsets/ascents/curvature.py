"""What a quasi-Newton ascent remembers of the way, image by image."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Flags, Offsets, Rows


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
        Nocedal and Wright, *Numerical optimization*, 2006, algorithm 7.4;
        Chen, Wang and Zhou, *Large-scale L-BFGS using MapReduce*, 2014 (the recursion on products alone).
    """

    def __init__(self, like: Offsets, memory: int) -> None:
        self._pairs = like.new_zeros(len(like), 2, memory, like.shape[1])  # moves and changes of gradient
        self._lengths = like.new_zeros(len(like), memory)  # of the moves
        self._count = torch.zeros(len(like), dtype=torch.int64, device=like.device)  # pairs taken in since forgetting

    def remember(self, move: Offsets, change: Offsets, rows: Flags) -> Flags:
        """Takes in a pair of the images in ``rows`` whose loss bends down; tells which these are."""
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

        Pairs are cut to the free coordinates first, so that those held at a bound take no part; a pair that no longer
        bends down there is passed over.

        Args:
            gradient: The gradient.
            free: Flags ``[B, Z]`` of the coordinates that may move.

        Returns:
            The steps, zero where coordinates are held, and for which images there was a pair to build on.
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
        triangle = torch.where(sound[:, :, None] & sound[:, None], bends, 0).tril() + torch.diag_embed(
            (~sound).to(bends)
        )
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

    def keep(self, rows: Rows) -> None:
        """Forgets all but some of the images."""
        self._pairs, self._lengths, self._count = self._pairs[rows], self._lengths[rows], self._count[rows]


def _bends_down(bend: Tensor, length: Tensor, change: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether the loss bends down along a move by more than rounding, and squares do not underflow.

    Args:
        bend: Product of move and change of gradient.
        length: Norm of the move.
        change: Norm of the change.
        dtype: Type that the products were rounded to.
    """
    precision = torch.finfo(dtype)
    return (bend > precision.eps * length * change) & (change >= precision.tiny**0.5)
