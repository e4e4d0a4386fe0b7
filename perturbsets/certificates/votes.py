"""Votes of a model under normal noise in the offsets of a set, counted reproducibly."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from augment.functional.counter import normal
from perturbsets._types import Model, Offsets, Rows
from perturbsets.model_call import logits
from perturbsets.sets.standardized import StandardizedRegion
from perturbsets.share_bounds import chance_of_at_least, check_chance

CHECKS = 8  # how often hopeless images are sorted out; each check makes a GPU wait
AHEAD = 1 << 17  # numbers of noise drawn at once: half a megabyte
SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)  # odd: seeds that differ lie far apart; Steele et al., 2014

Prediction = tuple[Tensor, int]
"""A class at each place ``[B, *place]``, and the number of classes."""


class VoteCounter:
    """Counts what a model predicts for images under noise in the set.

    The noise is a function of the image's seed, the name of a stream and the number of the draw: batches of any size
    give the same votes, and an image alone has those that it has in a batch. What depends on the image alone, such as
    the prior of a CVAE, is computed once for all draws.

    The model is in evaluation mode; a batch holds draws of whichever images; the centre of the noise is 0 if not given.
    """

    def __init__(
        self,
        model: Model,
        region: StandardizedRegion,
        seeds: Tensor,
        predict: Callable[[Tensor], Prediction],
        *,
        batch: int,
        centre: Offsets | None = None,
    ) -> None:
        self.model, self.region, self.seeds = model, region, seeds
        self.predict, self.batch, self.centre = predict, batch, centre
        self._all = torch.arange(len(seeds), device=seeds.device)

    def counts(self, stream: str, draws: int) -> Tensor:
        """Votes for each class at each place, ``[B, *place, K]``."""
        counts: Tensor | None = None
        for rows, (predicted, classes) in self._predictions(stream, range(draws), self._all):
            if counts is None:
                counts = predicted.new_zeros(len(self.seeds), *predicted.shape[1:], classes)
                place = torch.arange(predicted[0].numel(), device=predicted.device)
            cells = ((rows[:, None] * len(place) + place) * classes + predicted.reshape(len(rows), -1)).flatten()
            counts.view(-1).index_add_(0, cells, torch.ones_like(cells))
        assert counts is not None
        return counts

    def agreements(self, stream: str, guesses: Tensor, draws: int, needed: int) -> tuple[Tensor, Tensor]:
        """Votes for the guess at each place, and the number of draws that each image had.

        An image that cannot reach the needed number at any place, even if all further draws agreed, has no more of
        them. It would have failed anyway, so this changes no outcome and needs no correction of levels; to stop early
        on success would need one, and is not done.
        """
        agreed, taken = torch.zeros_like(guesses), torch.zeros_like(self.seeds)
        rows, done = self._all, 0
        for end in torch.linspace(draws - needed + 1, draws, CHECKS, dtype=torch.float64).long().unique().tolist():
            for some, (predicted, _) in self._predictions(stream, range(done, end), rows):
                agreed.index_add_(0, some, (predicted == guesses[some]).long())
            taken[rows], done = end, end
            rows = rows[agreed[rows].reshape(len(rows), -1).amax(1) + draws - end >= needed]
            if not len(rows):
                break
        return agreed, taken

    def _predictions(self, stream: str, draws: range, rows: Rows) -> Iterator[tuple[Rows, Prediction]]:
        """The images and predictions of each forward pass over all draws of all rows."""
        broken = torch.zeros(2, dtype=torch.bool, device=rows.device)
        for some, offsets in self._noise(stream, draws, rows):
            images = self.region.select(some).decode(offsets)
            outputs = logits(self.model, images)
            broken |= torch.stack([_not_finite(images), _not_finite(outputs)])
            yield some, self.predict(outputs)
        for subject, failed in zip(("perturbations must decode to", "model must return"), broken.tolist(), strict=True):
            if failed:
                raise ValueError(f"{subject} finite values wherever noise leads, got NaN or infinity: no vote is valid")

    def _noise(self, stream: str, draws: range, rows: Rows) -> Iterator[tuple[Rows, Offsets]]:
        """Images and offsets of each forward pass, drawn for several passes at once where they are small."""
        total, ahead = len(rows) * len(draws), self.batch * max(1, AHEAD // (self.batch * self.region.size))
        for begin in range(0, total, ahead):
            number = torch.arange(begin, min(begin + ahead, total), device=rows.device)
            some = rows[number // len(draws)]
            keys = self.seeds[some] * SPREAD + draws.start + number % len(draws)
            offsets = normal(keys, self.region.size, stream).to(self.region.dtype)
            if self.centre is not None:
                offsets += self.centre[some]
            yield from zip(some.split(self.batch), offsets.split(self.batch), strict=True)


def _not_finite(tensor: Tensor) -> Tensor:
    """Whether any value is NaN or infinite; the range is found faster than a flag for each value."""
    return ~torch.stack(torch.aminmax(tensor)).isfinite().all()


def agreements_needed(draws: int, share: float, level: float) -> int:
    """The smallest number of agreements that has a chance of at most the level if the true share is the given one.

    Refuses numbers out of range, and draws of which even all are not enough.
    """
    check_chance("alpha", level)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    needed = bisect_left(
        range(draws + 1), True, key=lambda count: bool(chance_of_at_least(count, draws, share) <= level)
    )
    if needed > draws:
        least = bisect_left(range(1 << 40), True, key=lambda count: bool(share**count <= level))
        raise ValueError(
            f"draws must be at least {least} to certify anything with a chance of error of {level:.3g} for each place "
            f"and side, got {draws}"
        )
    return needed
