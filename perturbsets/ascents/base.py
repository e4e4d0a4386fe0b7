"""What ascents share: the best point of every image, the images still attacked, and gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from perturbsets._types import Flags, Offsets, PerImage, Rows, Samples
from perturbsets.objectives.base import Loss
from perturbsets.rows import PerImageSettings, check_choice, set_per_image
from perturbsets.sets.base import Region, Starts

CHECK_EVERY = 5  # steps between looks at which images are done, so that a GPU need not wait each step


class Best:
    """The best point seen for each image: success before failure, then the higher loss; or the higher loss alone.

    An attack counts successes, and a correctly classified image may have cross-entropy ln K where a misclassified one
    has ln 2. A maximum, such as the inner one of adversarial training, is the highest loss. ``loss.success_first`` says
    which of the two is wanted; the loss is ``None`` where there is nothing to search.

    Attributes:
        offsets: Best offsets.
        images: The samples there; decoded once more where the region is ``cheap``, stored otherwise.
        loss: Their loss.
        success: Whether the goal is reached there.
        calls: Forward passes spent on each image.
        finite: Whether every loss seen was finite.
        bounds: Losses that no point of the region exceeds; ``None`` where the ascent proves none.
    """

    bounds: PerImage | None = None

    def __init__(self, region: Region, loss: Loss | None) -> None:
        count, device = len(region.images), region.images.device
        self.offsets: Offsets = region.centre()
        self._region, self._success_first = region, loss is None or loss.success_first
        self._images = None if region.cheap else region.images.detach().clone()
        self.loss: PerImage = region.images.new_full((count,), float("-inf"), dtype=region.dtype)
        self.success: Flags = torch.zeros(count, dtype=torch.bool, device=device)
        self.calls = torch.zeros(count, dtype=torch.int64, device=device)
        self.finite = torch.ones_like(self.success)
        self._every = torch.arange(count, device=device)

    def update(
        self, offsets: Offsets, images: Samples, loss: PerImage, success: Flags, rows: Rows | None = None
    ) -> None:
        """Takes in one evaluation of all images, or of some rows of the batch."""
        loss = loss.detach().to(self.loss.dtype)
        finite = loss.isfinite()
        success = success & finite  # NaN is not a success
        old, held = (self.loss, self.success) if rows is None else (self.loss[rows], self.success[rows])
        higher = loss > old
        better = finite & (torch.where(success ^ held, success, higher) if self._success_first else higher)
        held, loss = torch.where(better, success, held), torch.where(better, loss, old)
        if rows is None:
            self.calls += 1
            self.finite &= finite
            self.loss, self.success, rows = loss, held, self._every
        else:
            self.calls[rows] += 1
            self.finite[rows] &= finite
            self.loss[rows], self.success[rows] = loss, held
        # Few rows are copied at most steps; but to count them would make a GPU wait.
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


class Active:
    """The images of a batch that are still attacked, with region and loss of these alone.

    Subclasses hold what they know of each image in tensors with a row per image, or in objects with a ``select``:
    when images leave, all attributes follow. ``best`` takes in every point evaluated, and ``rows`` are those of the
    batch that are still attacked; all if ``None``.
    """

    def __init__(self, region: Region, loss: Loss, best: Best) -> None:
        self.region, self.loss, self.best = region, loss, best
        self.rows: Rows | None = None

    def of(self, batch: Tensor) -> Tensor:
        """The rows of those images, of a tensor with a row for each image of the batch."""
        return batch if self.rows is None else batch[self.rows]

    def evaluate(self, offsets: Offsets) -> PerImage:
        """The loss at offsets, in one forward pass."""
        with torch.no_grad():
            return self._look(offsets)

    def differentiate(self, offsets: Offsets, *, record: bool = True) -> tuple[PerImage, Offsets]:
        """The loss at offsets, and its gradient there, in one forward and one backward pass.

        Without ``record`` the point is not returned as the best: only its pass counts.

        Raises:
            ValueError: If there is no gradient.
        """
        with torch.enable_grad():
            offsets = offsets.detach().requires_grad_()
            value = self._look(offsets, record)
        return value.detach(), slope(value, offsets)

    def _look(self, offsets: Offsets, record: bool = True) -> PerImage:
        images = self.region.decode(offsets)
        value, success = self.loss(images, offsets)
        if record:
            self.best.update(offsets, images, value, success, self.rows)
        else:
            self.best.calls += 1
        return value

    def any_left(self, *, drop: bool, done: Flags | None = None) -> bool:
        """Whether any image is left to attack.

        With ``drop``, images whose attack succeeded, or that are ``done`` and need no more steps, leave first.
        """
        if drop:
            success = self.of(self.best.success)
            done = success if done is None else done | success
            if bool(done.any()):
                left = (~done).nonzero()[:, 0]
                if len(left):
                    self.select(left)
                return len(left) > 0
        return drop or done is None or not len(done) or not bool(done.all())

    def select(self, left: Rows) -> None:
        """Leaves out all but some of the images that are still attacked."""
        rows = left if self.rows is None else self.rows[left]
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[left])
            elif hasattr(value, "select"):
                setattr(self, name, value.select(left))
        self.rows = rows


class Ascent(PerImageSettings, ABC):
    """A way to climb; one frozen dataclass of settings each. A ``step_size`` may be one per image."""

    per_image: ClassVar[tuple[str, ...]] = ("step_size",)

    @abstractmethod
    def __call__(
        self, region: Region, loss: Loss, *, start: Offsets | None = None, generator: torch.Generator | None = None
    ) -> Best:
        """Climbs a loss in a region, and returns the best point seen for each image, the start included.

        Args:
            region: Where to stay, and how to decode.
            loss: What to raise.
            start: First offsets; the ascent's own choice if not given.
            generator: For random starts and draws.
        """

    def misfit(self, region: Region) -> str | None:
        """Why the ascent cannot be used in a region, with the remedy; ``None`` if it can."""
        if not region.searchable:
            return f"a {type(region).__name__} can only be drawn from, nothing climbs in it: take RandomSearch"
        return None


class GradientBased(Ascent):
    """An ascent along gradients, once from each of its starts; subclasses say how."""

    steps: int = 1
    restarts: int = 1
    starts: Starts = "zero"

    def __post_init__(self) -> None:
        check_at_least_one(steps=self.steps, restarts=self.restarts)
        if hasattr(self, "step_size"):
            set_step_size(self)
        check_choice("starts", self.starts, Starts)
        if self.restarts > 1 and self.starts == "zero":
            raise ValueError(f'starts must be random for {self.restarts} restarts, got "zero": all would be the same')

    def __call__(
        self, region: Region, loss: Loss, *, start: Offsets | None = None, generator: torch.Generator | None = None
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


def slope(value: PerImage, offsets: Offsets) -> Offsets:
    """The gradient of each image's value at its offsets; values without one are refused."""
    gradient = None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), offsets, allow_unused=True)  # images are independent
    if gradient is None:
        raise ValueError(
            "objective must have a gradient at the offsets for this ascent, got values without one: let no step from "
            "samples to values detach or count, or take an ascent without gradients, such as Square or RandomSearch"
        )
    return gradient


def finite_box(region: Region) -> tuple[Offsets, Offsets] | None:
    """Smallest and largest offsets of a region that is a box of finite sides; else ``None``."""
    box = region.box()
    return box if box is not None and all(bool(side.isfinite().all()) for side in box) else None


def check_at_least_one(**counts: int) -> None:
    """Refuses numbers of steps, draws and the like below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def set_step_size(settings: Any) -> None:
    """Checks the ``step_size`` of a frozen dataclass, and stores it as a float, a tensor ``[B]`` or ``None``."""
    set_per_image(settings, "step_size", lambda size: size > 0, "above 0, in the unit of the set's radius")


def finite_radii(region: Region) -> PerImage:
    """Radii of a region, one per image, for step sizes that are shares of them; infinite ones are refused."""
    radii = region.ball.radii(region.centre())[:, 0]
    if not bool(radii.isfinite().all()):
        raise ValueError("step_size must be given where the radius is infinite: by default it is a share of it")
    return radii
