"""Several adversaries at once: for each image the worst result of any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary, Rank, attacked
from perturbsets.model_call import check_call, preserve_state
from perturbsets.objectives.base import Objective
from perturbsets.objectives.classification import Margin
from perturbsets.printing import Printed
from perturbsets.rows import PerImageSettings, check_choice, check_count, check_rows, take_rows


@dataclass(frozen=True)
class WorstResult(Printed):
    """Result of several adversaries, per image.

    Attributes:
        images: The worst samples, of the type and shape of the input.
        loss: The judge's objective there, higher is worse for the model.
        success: Whether the judge's goal is reached.
        member: Number of the adversary whose result it is.
        calls: Forward passes spent by all of them, the judge's included.
    """

    images: Samples
    loss: PerImage
    success: Flags
    member: Tensor
    calls: Tensor

    def __repr__(self) -> str:
        return attacked(self)


@dataclass(frozen=True)
class Worst(PerImageSettings):
    """Attacks by several adversaries, on any sets, of which each image keeps the worst result.

    Their own objectives cannot be compared with each other, so one objective, the judge, ranks the results: success
    before failure, then the higher loss, or the higher loss alone; at equal loss the earlier adversary counts.

    Args:
        adversaries: The adversaries, in order.
        judge: The objective that decides.
        drop_successes: Whether later adversaries attack only the images on which all earlier ones failed.

    Raises:
        ValueError: If there is no adversary.

    Example:
        >>> from perturbsets import PixelBall
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> both = Worst([Adversary(PixelBall("linf", 0.1)), Adversary(PixelBall("l2", 0.2))])
        >>> both(model, x, y).images.shape
        torch.Size([5, 1, 2, 2])
    """

    adversaries: Sequence[Adversary]
    _: KW_ONLY
    judge: Objective = field(default_factory=Margin)
    drop_successes: bool = False

    def __post_init__(self) -> None:
        if not self.adversaries:
            raise ValueError("adversaries must hold at least one, got none")

    @torch.inference_mode(False)  # what is made inside is ordinary, whatever the caller's setting
    @torch.no_grad()
    def __call__(
        self,
        model: Model | None,
        images: Samples,
        labels: Any,
        *,
        generator: torch.Generator | None = None,
        rank: Rank = "success",
    ) -> WorstResult:
        """Attacks a batch.

        Args:
            model: The model under attack; ``None`` where no objective needs one.
            images: Clean samples within the bounds of every set.
            labels: What the objectives need, with an entry per image if images are dropped.
            generator: For random starts and draws.
            rank: Which point is the worst, for each adversary and for the judge: see :meth:`Adversary.__call__`.

        Raises:
            ValueError: As :meth:`Adversary.__call__`.
        """
        check_call(model, images)
        check_choice("rank", rank, Rank)
        count, device = len(images), images.device
        if self.drop_successes:
            check_rows("labels", labels, count)
            check_count(self, count)
        worst = images.detach().clone()
        values = images.new_full((count,), float("-inf"), dtype=torch.promote_types(images.dtype, torch.float32))
        success = torch.zeros(count, dtype=torch.bool, device=device)
        member, calls = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(2))
        for number, adversary in enumerate(self.adversaries):
            rows = (~success).nonzero()[:, 0] if self.drop_successes else torch.arange(count, device=device)
            if not len(rows):
                break
            x, y, one, judging = images, labels, adversary, self.judge
            if self.drop_successes:
                x, y, one, judging = x[rows], take_rows(y, rows), one.select(rows), judging.select(rows)
            result = one(model, x, y, generator=generator, rank=rank)
            with preserve_state(model, device) as bare, torch.no_grad():
                judge = judging.at(bare, x.detach(), y)
                value, won = judge(result.images, result.offsets)
            value = value.to(values.dtype)
            better = value > values[rows]
            if rank == "success":
                better = torch.where(won ^ success[rows], won, better)
            taken = rows[better]
            worst[taken], values[taken] = result.images[better], value[better]
            success[taken], member[taken] = won[better], number
            calls[rows] += result.calls + judge.calls + 1
        return WorstResult(worst, values, success, member, calls)
