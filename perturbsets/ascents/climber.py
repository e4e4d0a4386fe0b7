"""Images that climb together, each at a stage of its own, and leave when they are done."""

from __future__ import annotations

from torch import Tensor

from perturbsets._types import Flags, Rows
from perturbsets.ascents.base import Best
from perturbsets.objectives.base import Loss
from perturbsets.sets.base import Region


class Climber:
    """One climb of a batch; subclasses hold the state of every image in tensors with a row for each.

    Args:
        region: Where to stay.
        loss: What to raise.
        best: Takes in every point visited.

    Attributes:
        box: Smallest and largest offsets, where the region is a box.
        rows: Which images of the batch still climb; all if ``None``.
    """

    def __init__(self, region: Region, loss: Loss, best: Best) -> None:
        self.region, self.loss, self.best, self.box = region, loss, best, region.box()
        self.rows: Rows | None = None

    def goes_on(self, done: Flags, *, drop: bool) -> bool:
        """Leaves out the images that are done, if they may be dropped; tells whether any is left.

        Args:
            done: Which of those that still climb need climb no more.
            drop: Whether they leave, and those that reached the goal with them.
        """
        if drop:
            done = done | (self.best.reached if self.rows is None else self.best.reached[self.rows])
            if bool(done.any()):
                left = (~done).nonzero()[:, 0]
                self.keep(left)
                return len(left) > 0
        return len(done) == 0 or not bool(done.all())

    def keep(self, left: Rows) -> None:
        """Forgets all but some of those that still climb."""
        rows = left if self.rows is None else self.rows[left]
        self.region, self.loss = self.region.keep(left), self.loss.keep(left)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[left])
        self.rows, self.box = rows, self.region.box()
