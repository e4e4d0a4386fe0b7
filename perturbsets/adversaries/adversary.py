"""An adversary searches a perturbation set for the point where an objective is highest, by some ascent."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, PerImage, Samples
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.projected_gradient import ProjectedGradient
from perturbsets.model_call import Mode, check_call, given_or_fresh, ordinary, preserve_state
from perturbsets.objectives.base import ByValue, Objective
from perturbsets.objectives.classification import CrossEntropy
from perturbsets.printing import Printed, percent
from perturbsets.rows import PerImageSettings, check_choice
from perturbsets.sets.base import PerturbationSet, Region

Rank = Literal["success", "value"]


PARTS = {
    "perturbations": ("at", 'PixelBall("linf", 8 / 255)'),
    "objective": ("at", "CrossEntropy()"),
    "ascent": ("misfit", "ProjectedGradient(20)"),
}
"""What the parts of an adversary have, and an example of each."""


def attacked(result: Any) -> str:
    """A result of attacks in one line: images and successes."""
    share = f", {percent(float(result.success.float().mean()))} success" if len(result.success) else ""
    return f"{type(result).__name__}({len(result.images)} images{share})"


@dataclass(frozen=True)
class AttackResult(Printed):
    """Result of an attack, per image.

    Attributes:
        images: The worst samples, of the type and shape of the input.
        offsets: Where in the set they are, ``[B, Z]``.
        loss: The objective there, higher is worse for the model.
        success: Whether the goal is reached there, also if it was on the clean sample.
        calls: Forward passes spent, those of binding the objective among them; of a gradient ascent's, all but one of
            each start had a backward pass.
        bounds: Values that no point of the set exceeds, where the ascent proves such
            (:class:`~perturbsets.AcceleratedGradient`); else ``None``.
    """

    images: Samples
    offsets: Offsets
    loss: PerImage
    success: Flags
    calls: Tensor
    bounds: PerImage | None = None

    def __repr__(self) -> str:
        return attacked(self)


@dataclass(frozen=True)
class Adversary(PerImageSettings):
    """Set, objective and ascent together.

    The model and the input are left as they were: modes, gradients, statistics, random states. Results carry no graph.

    Args:
        perturbations: What may happen to a sample.
        objective: What to raise.
        ascent: How to climb.
        mode: ``"eval"`` attacks the model in evaluation mode; ``"keep"`` leaves its mode alone.

    Raises:
        TypeError: If a part is of another kind.
        ValueError: If the mode is unknown, or ``"keep"`` comes with an ascent that drops images of a batch.

    Example:
        >>> from perturbsets import PixelBall
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> result = Adversary(PixelBall("linf", 0.1))(model, x, y)
        >>> bool(((result.images - x).abs() <= 0.1 + 1e-6).all())
        True
    """

    perturbations: PerturbationSet
    objective: Objective = field(default_factory=CrossEntropy)
    ascent: Ascent = field(default_factory=ProjectedGradient)
    _: KW_ONLY
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        for name, (method, example) in PARTS.items():
            given = getattr(self, name)
            if isinstance(given, type) or not hasattr(given, method):
                got = f"the class {given.__name__}" if isinstance(given, type) else f"{given!r:.60}"
                raise TypeError(
                    f"{name} must be such as {example}, got {got}: write Adversary(perturbations, objective, ascent)"
                )
        check_choice("mode", self.mode, Mode)
        if self.mode == "keep" and getattr(self.ascent, "stop_on_success", False):
            raise ValueError('mode="keep" drops no image: set stop_on_success=False in the ascent')

    def __call__(
        self,
        model: Model | None,
        images: Samples,
        labels: Any,
        *,
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
        rank: Rank = "success",
    ) -> AttackResult:
        """Attacks a batch.

        Args:
            model: The model under attack; ``None`` for objectives without one.
            images: Clean samples within the bounds of the set.
            labels: What the objective needs: classes, targets, images.
            start: First offsets; the ascent's own choice if not given.
            generator: For random starts and draws; a fresh one, seeded by the system whatever ``torch.manual_seed``
                was given, if there is none.
            rank: Which point is the worst: ``"success"``, any success before any failure, then the higher loss, for
                attacks that count successes; ``"value"``, the highest value, for the inner maximum of training.

        Raises:
            TypeError: If images are no tensor, or the model cannot be called.
            ValueError: If samples, labels, start or logits are not as they must be, the rank is unknown, the ascent
                does not fit the set, or the model returns NaN.
        """
        check_call(model, images)
        check_choice("rank", rank, Rank)
        generator = given_or_fresh(generator)
        with preserve_state(model, images, self.mode) as model:
            images, labels = ordinary(images), ordinary(labels)
            region = self.perturbations.at(images.detach())
            reason = self.ascent.misfit(region)
            if reason is not None:
                raise ValueError(f"ascent must fit the set, got {type(self.ascent).__name__}: {reason}")
            start = None if start is None else _first(ordinary(start), region)
            if not len(images):
                best = Best(region, None)
                return AttackResult(best.images, best.offsets, best.loss, best.success, best.calls)
            loss = self.objective.at(model, images.detach(), labels)
            best = self.ascent(region, loss if rank == "success" else ByValue(loss), start=start, generator=generator)
            calls = best.calls + loss.calls
        if not bool(best.finite.all()):
            raise ValueError(
                f"model must return finite values, got NaN or infinity on {int((~best.finite).sum())} of "
                f"{len(best.finite)} images inside the set: such an attack would count as a false success"
            )
        return AttackResult(best.images, best.offsets, best.loss, best.success, calls, best.bounds)


def _first(start: Tensor, region: Region) -> Offsets:
    """The caller's offsets, in the type and on the device of the region."""
    wanted = [len(region.images), region.size]
    if list(start.shape) != wanted or not bool(start.isfinite().all()):
        raise ValueError(
            f"start must be finite offsets {wanted} of the set, one row per image, got {list(start.shape)} with "
            f"{int((~start.isfinite()).sum())} NaN or infinite: flatten offsets in the shape of images"
        )
    return start.detach().to(region.images.device, region.dtype)
