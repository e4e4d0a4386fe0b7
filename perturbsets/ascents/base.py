"""What an ascent is, and how it keeps the best it has seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from perturbsets._types import Flags, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss
from perturbsets.per_image import PerImageSettings
from perturbsets.sets.base import Region, Starts


class Best:
    """Per image the best point seen: reached before not reached, then the higher value; or the higher value alone.

    An attack counts successes, and a correct image may have cross-entropy ln K where a fooled one has ln 2: there value
    alone does not tell. A maximum, such as the inner one of adversarial training, is the highest value. The loss says
    which of the two is asked for.

    Args:
        region: The region that is searched.
        loss: What is raised in it; ``None`` where there is nothing to search.

    Attributes:
        offsets: Best offsets ``[B, Z]``.
        images: The samples there; decoded once more where the region is ``cheap``, kept otherwise.
        loss: Their values.
        success: Whether the goal is reached at that point.
        calls: Forward passes spent on each image.
        finite: Whether every value seen was finite.
        bounds: Values that no point of the region exceeds; ``None`` where the ascent proves none.
    """

    offsets: Offsets
    loss: PerImage
    success: Flags
    calls: Tensor
    finite: Flags
    bounds: PerImage | None = None

    def __init__(self, region: Region, loss: Loss | None) -> None:
        count = len(region.images)
        self.offsets = region.centre()
        self._region, self._success_first = region, loss is None or loss.success_first
        self._images = None if region.cheap else region.images.detach().clone()
        self.loss = region.images.new_full((count,), float("-inf"), dtype=region.dtype)
        self.success = torch.zeros(count, dtype=torch.bool, device=region.images.device)
        self.calls = torch.zeros(count, dtype=torch.int64, device=region.images.device)
        self.finite = torch.ones_like(self.success)
        self._every = torch.arange(count, device=region.images.device)

    def update(
        self, offsets: Offsets, images: Samples, values: PerImage, success: Flags, rows: Rows | None = None
    ) -> None:
        """Takes in one evaluation of all images, or of some rows of the batch."""
        values = values.detach().to(self.loss.dtype)
        finite = values.isfinite()
        success = success & finite  # NaN is not a success
        old, held = (self.loss, self.success) if rows is None else (self.loss[rows], self.success[rows])
        higher = values > old
        better = finite & (torch.where(success ^ held, success, higher) if self._success_first else higher)
        held = torch.where(better, success, held)
        if rows is None:
            self.calls += 1
            self.finite &= finite
            self.loss = torch.where(better, values, old)
            self.success = held
        else:
            self.calls[rows] += 1
            self.finite[rows] &= finite
            self.loss[rows] = torch.where(better, values, old)
            self.success[rows] = held
        rows = self._every if rows is None else rows
        # Few rows are copied at most steps; but to ask how many they are would make a GPU wait.
        replace_ = replace_few_ if better.device.type == "cpu" else replace_unasked_
        replace_(self.offsets, offsets.detach().to(self.offsets.dtype), better, rows)
        if self._images is not None:
            replace_(self._images, images.detach().to(self._images.dtype), better, rows)

    @property
    def images(self) -> Samples:
        if self._images is None:
            with torch.inference_mode(False), torch.no_grad():
                return self._region.decode(self.offsets)
        return self._images


def replace_few_(kept: Tensor, seen: Tensor, better: Flags, rows: Rows) -> None:
    """Writes what is better into its rows, and touches nothing else."""
    taken = better.nonzero()[:, 0]
    kept.index_copy_(0, rows[taken], seen.index_select(0, taken))


def replace_unasked_(kept: Tensor, seen: Tensor, better: Flags, rows: Rows) -> None:
    """The same by operations whose sizes are known beforehand; gathering is cheaper than masking."""
    chosen = torch.where(better, torch.arange(len(seen), device=kept.device) + len(kept), rows)
    kept.index_copy_(0, rows, torch.cat([kept, seen]).index_select(0, chosen))


class Ascent(PerImageSettings, ABC):
    """A way to climb; one frozen dataclass of settings each. A ``step_size`` may be one per image."""

    per_image: ClassVar[tuple[str, ...]] = ("step_size",)

    @abstractmethod
    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        """Climbs.

        Args:
            region: Where to stay, and how to decode.
            loss: What to raise.
            start: First offsets; the ascent's own choice if not given.
            generator: For random starts and draws.

        Returns:
            Per image the best point seen, the start included.
        """

    def misfit(self, region: Region) -> str | None:
        """Why the ascent cannot climb in a region, in words that end with what would do; ``None`` if it can.

        Args:
            region: The region to climb in.
        """
        if not region.searchable:
            return f"a {type(region).__name__} can only be drawn from, nothing climbs in it: take RandomSearch"
        return None


# Climbing from several starts.


class Restarted(Ascent):
    """An ascent that climbs once from each of its starts; subclasses say how.

    Attributes:
        restarts: Number of starts.
        starts: Where they lie.
    """

    restarts: int
    starts: Starts

    def __call__(
        self,
        region: Region,
        loss: Loss,
        *,
        start: Offsets | None = None,
        generator: torch.Generator | None = None,
    ) -> Best:
        best = Best(region, loss)
        for restart in range(self.restarts):
            given = None if restart else start
            first = region.start(self.starts, generator=generator) if given is None else region.project(given)
            self._climb(region, loss, first, best)
        return best

    @abstractmethod
    def _climb(self, region: Region, loss: Loss, start: Offsets, best: Best) -> None:
        """Climbs from one start; every point visited goes to ``best``."""
