"""The audit of a robust accuracy: is it a strong defence, or a weak attack?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from perturbsets._types import Model, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.evaluation import checks
from perturbsets.evaluation.accuracy import BATCH
from perturbsets.evaluation.checks import AttackSession, Check
from perturbsets.intervals import Interval, share_interval
from perturbsets.model_call import check_call, initial_seed
from perturbsets.printing import Result, percent_interval


@dataclass(frozen=True)
class Audit(Result):
    """Result of the audit of one attack on one model: robust accuracy, with its interval over units, and checks."""

    accuracy: Interval
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.passed is False]

    def summary(self) -> dict[str, Any]:
        """The audit as plain values."""
        return {"accuracy": self.accuracy._asdict(), "checks": [asdict(check) for check in self.checks]}

    @property
    def sentence(self) -> str:
        """The accuracy, and which checks failed."""
        failed = ", ".join(check.name for check in self.failures) or "none"
        applied = sum(check.passed is not None for check in self.checks)
        return f"Robust accuracy {percent_interval(self.accuracy)}, of {applied} checks failed: {failed}"

    def table(self) -> Table:
        """The accuracy, and a row for each check with what was measured."""
        table = Table("check", "passed", "measured")
        table.add_row("robust accuracy", "", percent_interval(self.accuracy))
        for check in self.checks:
            table.add_row(check.name, {True: "yes", False: "NO", None: "not applicable"}[check.passed], check.figure)
        return table


def audit(
    adversary: Adversary,
    model: Model,
    images: Samples,
    labels: Any,
    *,
    plain: Model | None = None,
    groups: Tensor | None = None,
    draws: int = 100,
    batch: int = BATCH,
    generator: torch.Generator | None = None,
) -> Audit:
    """Checks for the known signs that an attack fails for other reasons than the model's robustness.

    Nine checks: the attack always succeeds without a limit on the radius (pixel balls); accuracy falls with the
    radius; many steps beat one; twice the steps and restarts change less than the interval; random draws do not beat
    the gradient; gradients are neither zero nor infinite; the same input gives the same output; success survives
    rounding to 8 bits; what fools a plain model does not beat the attack itself.

    An image counts as right until the objective's goal is reached: until it is misclassified, say, or the share of its
    right pixels is down to the ``goal`` of a :class:`~perturbsets.SegmentationCrossEntropy`.

    Args:
        adversary: The attack whose figure is in question, with a gradient ascent.
        model: The model under attack.
        images: Clean samples; a hundred are enough.
        labels: What the adversary's objective needs.
        plain: A model trained without defence, for the check by transfer; left out without one.
        groups: Number of each image's independent unit; by default every image is its own.
        draws: Random draws for each image.
        batch: Images attacked at a time.
        generator: Gives the seed of all draws, its initial one (0 without a generator): every attack draws the same.

    Raises:
        ValueError: If samples, labels or logits are not as they must be, or the radius is infinite.

    References:
        Carlini et al., *On evaluating adversarial robustness*, 2019, sec. 3 to 5;
        Athalye, Carlini and Wagner, *Obfuscated gradients give a false sense of security*, 2018, sec. 3.1;
        Tramer et al., *On adaptive attacks to adversarial example defenses*, 2020.

    Example:
        >>> from torch import nn
        >>> from perturbsets import PixelBall
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> x = torch.rand(8, 1, 4, 4)
        >>> result = audit(Adversary(PixelBall("linf", 0.1)), model, x, model(x).argmax(1))
        >>> [check.name for check in result.failures]
        []
    """
    check_call(model, images)
    first = adversary.perturbations.select(torch.zeros(1, dtype=torch.long)).at(images[:1])
    if not bool(first.ball.radii(images[:1]).isfinite().all()):
        raise ValueError("adversary must search a set of finite radius to be audited, got an infinite one")
    session = AttackSession(adversary, model, images, labels, batch, initial_seed(generator))
    accuracy = share_interval(session.base.robust, groups)
    made = (
        checks.reaches_zero(session),
        checks.falls_with_radius(session),
        checks.many_steps_beat_one(session),
        checks.has_settled(session, accuracy),
        checks.random_does_not_beat_it(session, draws),
        checks.gradients_are_sound(session),
        checks.output_is_repeatable(session),
        checks.survives_rounding(session, accuracy),
        checks.transfer_does_not_beat_it(session, plain),
    )
    return Audit(accuracy, made)
