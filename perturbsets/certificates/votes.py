"""Votes: how often a model says what, where normal noise in a set moves its input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.double_precision import double_device
from augment.functional.counter import draw_seeds, normal
from perturbsets._types import Model, Offsets, Rows, Samples
from perturbsets.model_call import logits, ordinary, preserve_state, unwrapped
from perturbsets.sets.base import PerturbationSet
from perturbsets.sets.standardized import Standardized, StandardizedRegion
from perturbsets.share_bounds import chance_of_at_least, check_chance

ABSTAIN = -1
"""In place of a class where nothing is certified."""

BATCH = 256
LOOKS = 8  # at which images are hopeless; each makes a GPU wait
AHEAD = 1 << 17  # numbers of noise drawn at once: half a megabyte
SPREAD = 0x9E3779B97F4A7C15 - (1 << 64)  # odd: seeds that differ lie far apart; Steele et al., 2014

Reading = tuple[Tensor, int]
Reader = Callable[[Tensor], Reading]


@dataclass(frozen=True)
class Votes:
    """What a model said under noise; a place is an image, a label of it, or a pixel of it.

    All lies on the images' device, or on the CPU if that has no float64.

    Attributes:
        guesses: Most frequent class of the first draws, ``[B, *place]``.
        agreed: How many of the other draws said the same; draws not taken count as if they had not.
        taken: How many of those draws each image had, ``[B]``.
        seeds: Seeds of the images' noise, ``[B]``.
    """

    guesses: Tensor
    agreed: Tensor
    taken: Tensor
    seeds: Tensor


class Poll:
    """A model asked again and again about some images, each time with other noise in the set.

    The noise is a function of the image's seed, the name of a stream and the number of the draw. So passes of any size
    give the same votes, and an image alone has those that it has in a batch. What depends on the image alone, such as
    the prior of a CVAE, is computed once for all draws.

    Args:
        model: Samples to outputs, in evaluation mode.
        region: The set, bound to the images.
        seeds: A seed for each image.
        read: From outputs to a class at each place, and the number of classes.
        batch: Draws in one pass, of whichever images.
        centre: Offsets around which the noise lies; 0 if not given.
    """

    def __init__(
        self,
        model: Model,
        region: StandardizedRegion,
        seeds: Tensor,
        read: Reader,
        batch: int,
        centre: Offsets | None = None,
    ) -> None:
        self.model, self.region, self.read, self.batch, self.centre = model, region, read, batch, centre
        self.seeds = seeds
        self._every = torch.arange(len(seeds), device=seeds.device)

    def counts(self, stream: str, draws: int) -> Tensor:
        """How often each class was said at each place, ``[B, *place, K]``."""
        counts: Tensor | None = None
        for rows, (answers, classes) in self._passes(stream, range(draws), self._every):
            if counts is None:
                counts = answers.new_zeros(len(self.seeds), *answers.shape[1:], classes)
                place = torch.arange(answers[0].numel(), device=answers.device)
            said = ((rows[:, None] * len(place) + place) * classes + answers.reshape(len(rows), -1)).flatten()
            counts.view(-1).index_add_(0, said, torch.ones_like(said))
        assert counts is not None
        return counts

    def agreements(self, stream: str, guesses: Tensor, draws: int, needed: int) -> tuple[Tensor, Tensor]:
        """How often the guess was said at each place, and how many draws each image had.

        An image that cannot come to the needed number at any place, even if all draws to come agreed, has no more of
        them. As it would have failed anyway, this changes no outcome, and no level needs a correction. To stop early
        where enough agree would need one: that is not done.

        Args:
            stream: Name of the noise.
            guesses: A class for each place.
            draws: Number of draws.
            needed: Number of agreements that are of use.
        """
        agreed, taken = torch.zeros_like(guesses), torch.zeros_like(self.seeds)
        rows, done = self._every, 0
        looks = torch.linspace(draws - needed + 1, draws, LOOKS, dtype=torch.float64).long().unique()
        for look in looks.tolist():
            for asked, (answers, _) in self._passes(stream, range(done, look), rows):
                agreed.index_add_(0, asked, (answers == guesses[asked]).long())
            taken[rows], done = look, look
            within_reach = agreed[rows].reshape(len(rows), -1).amax(1) + draws - look >= needed
            rows = rows[within_reach]
            if not len(rows):
                break
        return agreed, taken

    def _passes(self, stream: str, draws: range, rows: Rows) -> Iterator[tuple[Rows, Reading]]:
        """Every draw of every row: which images a pass asked about, and what the model said."""
        broken = torch.zeros(2, dtype=torch.bool, device=rows.device)
        for asked, offsets in self._noise(stream, draws, rows):
            images = self.region.select(asked).decode(offsets)
            outputs = logits(self.model, images)
            broken |= torch.stack([_broken(images), _broken(outputs)])
            yield asked, self.read(outputs)
        for what, found in zip(("perturbations must decode to", "model must return"), broken.tolist(), strict=True):
            if found:
                raise ValueError(
                    f"{what} finite values wherever noise leads, got NaN or infinity: a vote over them means nothing"
                )

    def _noise(self, stream: str, draws: range, rows: Rows) -> Iterator[tuple[Rows, Offsets]]:
        """Images and offsets of one pass after another, drawn for several passes at once where they are small."""
        total, ahead = len(rows) * len(draws), self.batch * max(1, AHEAD // (self.batch * self.region.size))
        for begin in range(0, total, ahead):
            number = torch.arange(begin, min(begin + ahead, total), device=rows.device)
            asked = rows[number // len(draws)]
            keys = self.seeds[asked] * SPREAD + draws.start + number % len(draws)
            offsets = normal(keys, self.region.size, stream).to(self.region.dtype)
            if self.centre is not None:
                offsets += self.centre[asked]
            yield from zip(asked.split(self.batch), offsets.split(self.batch), strict=True)


def _broken(tensor: Tensor) -> Tensor:
    """Whether a value is NaN or infinite: then an end of the range is, which is found faster than a flag for each."""
    return ~torch.stack(torch.aminmax(tensor)).isfinite().all()


@dataclass(frozen=True)
class NoiseVote(ABC):
    """A model's vote under normal noise in the parameters of a set; what is voted on, the subclasses say.

    Args:
        model: Samples to outputs.
        perturbations: A set with an L2 ball, or a composition of such sets.
        sigma: Standard deviation of the noise, as for :class:`perturbsets.Standardized`.
        batch: Draws in one pass, and images bound at a time.

    Raises:
        ValueError: If ``sigma`` is not positive and finite, or ``batch`` below 1.
    """

    model: Model
    perturbations: PerturbationSet
    sigma: float | Sequence[float]
    batch: int = BATCH

    def __post_init__(self) -> None:
        _ = self.standardized
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1 draw in a pass, got {self.batch}")

    @property
    def standardized(self) -> Standardized:
        """The set in units of the noise."""
        return Standardized(self.perturbations, sigma=self.sigma)

    @abstractmethod
    def read(self, outputs: Tensor) -> Reading:
        """From outputs to a class at each place ``[B, *place]``, and the number of classes.

        Raises:
            ValueError: If outputs have another shape.
        """

    def scaled(self, radii: Tensor) -> Tensor:
        """From standard deviations to the set's own unit; of a composed set they stay what they are."""
        return radii if isinstance(self.sigma, Sequence) else self.sigma * radii

    def votes(
        self,
        images: Samples,
        selection: int,
        draws: int,
        share: float,
        level: Callable[[int], float],
        *,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Votes:
        """Guesses a class at each place, then counts how often other draws say the same.

        Args:
            images: Clean samples.
            selection: Draws for the guess.
            draws: Draws that are counted.
            share: Share of the votes that is to be passed.
            level: From the number of places of an image to the chance of error of each.
            seeds: Seeds of the images' noise; drawn if not given.
            generator: For the seeds; a fresh one, seeded by the system, if not given.

        Raises:
            ValueError: If there are no images, too few draws to certify anything, or the noise meets what it must not.
        """
        if selection < 1:
            raise ValueError(f"selection must be at least 1 draw, got {selection}")
        parts = []
        with self.asked(images):
            for poll in self.polls(images, seeds, generator):
                guesses = poll.counts("selection", selection).argmax(-1)
                needed = fewest(draws, share, level(guesses[0].numel()))
                agreed, taken = poll.agreements("certification", guesses, draws, needed)
                parts.append((guesses, agreed, taken, poll.seeds))
        device = double_device(images.device)  # on which their shares are bounded
        return Votes(*(torch.cat(part).to(device) for part in zip(*parts, strict=True)))

    @contextmanager
    def asked(self, images: Samples) -> Iterator[None]:
        """A block in which the model may be asked; it is left as it was found."""
        with preserve_state(self.model, images.device), torch.no_grad():
            yield

    def polls(
        self,
        images: Samples,
        seeds: Tensor | None,
        generator: torch.Generator | None,
        centre: Offsets | None = None,
    ) -> Iterator[Poll]:
        """Polls on one part of the images after another; to be asked within :meth:`asked`.

        Raises:
            ValueError: If there are no images, or not one seed for each.
        """
        if not len(images):
            raise ValueError("images must hold at least one image, got none")
        seeds = _drawn(images, generator) if seeds is None else seeds
        if seeds.shape != images.shape[:1] or seeds.dtype != torch.int64:
            raise ValueError(f"seeds must be whole numbers [{len(images)}], got {list(seeds.shape)} of {seeds.dtype}")
        images, seeds = ordinary(images).detach(), seeds.to(images.device)
        for rows in torch.arange(len(images), device=images.device).split(self.batch):
            region = self.standardized.select(rows).at(images[rows])
            around = None if centre is None else centre[rows]
            yield Poll(unwrapped(self.model), region, seeds[rows], self.read, self.batch, around)


def _drawn(images: Samples, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return draw_seeds(len(images), generator=generator)


def fewest(draws: int, share: float, level: float) -> int:
    """The smallest number of agreements among the draws that a true share has with a chance of at most the level.

    Raises:
        ValueError: If even all of them are not enough, or a number is out of range.
    """
    check_chance("alpha", level)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    found = bisect_left(
        range(draws + 1), True, key=lambda count: bool(chance_of_at_least(count, draws, share) <= level)
    )
    if found > draws:
        least = bisect_left(range(1 << 40), True, key=lambda count: bool(share**count <= level))
        raise ValueError(
            f"draws must be at least {least} to certify anything with a chance of error of {level:.3g} for each place "
            f"and side, got {draws}"
        )
    return found
