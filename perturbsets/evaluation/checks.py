"""The checks of an audit, each a figure that a sound attack on any model would show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from perturbsets._types import Flags, Model, Rows, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import OneStep, ProjectedGradient, RandomSearch
from perturbsets.intervals import Interval
from perturbsets.model_call import logits, preserve_state
from perturbsets.objectives.segmentation import check_counted, label_maps
from perturbsets.printing import Printed
from perturbsets.rows import batches, check_count, check_rows, take_rows
from perturbsets.sets.pixel import PixelBall


@dataclass(frozen=True)
class Outcome(Printed):
    """Whether an attack of an audit failed on each image, and the worst samples."""

    robust: Flags
    images: Samples

    @property
    def accuracy(self) -> float:
        """Share of images on which the attack failed."""
        return float(self.robust.cpu().double().mean())


class AttackSession:
    """Attacks on one model and its images, under different settings; all use the draws of one seed.

    Attributes:
        adversary: The attack in question: its objective says where an attack succeeded.
        base: Its outcome.
        right: Whether the goal of the objective is not reached on each clean image.

    Raises:
        ValueError: If there are no images, or samples, labels or logits are not as they must be.
    """

    def __init__(
        self, adversary: Adversary, model: Model, images: Samples, labels: object, batch: int, seed: int
    ) -> None:
        if not len(images):
            raise ValueError("images must hold at least one image, got none")
        check_rows("labels", labels, len(images))
        check_count(adversary, len(images))
        if adversary.objective.per_pixel:
            check_counted(label_maps(labels, images))
        self.adversary, self.model, self.images, self.labels = adversary, model, images, labels
        self.batch, self.seed = batch, seed
        self.right = self.right_on(images)
        self.base = self.attack(adversary)

    def attack(self, adversary: Adversary, *, on: Model | None = None) -> Outcome:
        """Attacks the model with all images, or with the results of an attack on another model."""
        target = self.model if on is None else on
        results = [
            part(target, self.images[rows], take_rows(self.labels, rows), generator=generator)
            for part, rows, generator in self.parts(adversary)
        ]
        images = torch.cat([part.images for part in results])
        if on is not None:
            return Outcome(self.right_on(images), images)
        return Outcome(~torch.cat([part.success for part in results]), images)

    def right_on(self, images: Samples) -> Flags:
        """Whether the goal of the objective is not reached on each changed image."""
        flags = []
        for part, rows, _ in self.parts(self.adversary):
            with preserve_state(self.model, images.device) as model, torch.no_grad():
                loss = part.objective.at(model, self.images[rows].detach(), take_rows(self.labels, rows))
                values, success = loss(images[rows], images.new_zeros(len(rows), 1))
            if bool((strange := ~values.isfinite()).any()):
                raise ValueError(
                    f"model must return finite logits, got NaN or infinity on {int(strange.sum())} of {len(rows)} "
                    "images: train it again"
                )
            flags.append(~success)
        return torch.cat(flags)

    def parts(self, adversary: Adversary) -> Iterator[tuple[Adversary, Rows, torch.Generator]]:
        """The adversary for each batch, the rows of the batch, and its generator."""
        generator = torch.Generator().manual_seed(self.seed)
        for rows in batches(self.images, self.batch):
            yield adversary.select(rows), rows, generator


SHARES = (0.25, 0.5, 1.0)  # of the radius
SLACK = 0.01  # differences up to this, or up to one image, are chance
SOUND = 0.99  # share of gradients that must be finite and not zero
ROUNDING = 8  # units in the last place of a value, by which it may seem to rise without rising
REPEATED = 1e-5  # largest difference of two passes, as a share of the largest logit
ENDLESS = ProjectedGradient(40, restarts=2, stop_on_success=True)  # more than enough without a limit
MANY = ProjectedGradient(20, stop_on_success=True)  # what one step or a random search is compared with


@dataclass(frozen=True)
class Check(Printed):
    """One check.

    Attributes:
        name: What a sound attack shows.
        passed: Whether it does; ``None`` where the check does not apply.
        figure: What was measured, or why it does not apply.
    """

    name: str
    passed: bool | None
    figure: str

    def __str__(self) -> str:
        """One line."""
        mark = {True: "pass", False: "FAIL", None: "n/a "}[self.passed]
        return f"{mark}  {self.name}: {self.figure}"


def reaches_zero(session: AttackSession) -> Check:
    """Without a limit every image can be changed into one of another class."""
    name = "without a limit every attack succeeds"
    chosen = session.adversary.perturbations
    if not isinstance(chosen, PixelBall):
        return Check(name, None, "only pixel balls reach every image")
    width, size = chosen.bounds[1] - chosen.bounds[0], session.images[:1].numel()
    radius = width * {"l1": size, "l2": math.sqrt(size), "linf": 1}[chosen.norm]
    outcome = session.attack(replace(session.adversary, perturbations=replace(chosen, radius=radius), ascent=ENDLESS))
    return Check(name, outcome.accuracy <= _slack(session), f"{_percent(outcome.accuracy)} at radius {radius:.4g}")


def falls_with_radius(session: AttackSession) -> Check:
    """A larger ball contains every smaller one."""
    name = "accuracy falls with the radius"
    if not hasattr(session.adversary.perturbations, "radius"):
        return Check(name, None, "the set has no radius")
    smaller = [session.attack(_shrunk(session.adversary, share)).accuracy for share in SHARES[:-1]]
    accuracies = [*smaller, session.base.accuracy]
    falls = all(after <= before + _slack(session) for before, after in pairwise(accuracies))
    figures = ", ".join(_percent(accuracy) for accuracy in accuracies)
    return Check(name, falls, f"{figures} at {', '.join(f'{share:g}' for share in SHARES)} of it")


def many_steps_beat_one(session: AttackSession) -> Check:
    """Many steps can do what one step does."""
    name = "many steps beat one"
    if getattr(session.adversary.ascent, "steps", 1) < 2:
        return Check(name, None, "the attack itself takes one step")
    single = session.attack(replace(session.adversary, ascent=OneStep())).accuracy
    figure = f"{_percent(session.base.accuracy)} against {_percent(single)} after one"
    return Check(name, session.base.accuracy <= single + _slack(session), figure)


def has_settled(session: AttackSession, accuracy: Interval) -> Check:
    """More steps must not lower the accuracy by much, or the figure depends on how long the attack ran."""
    ascent, half = session.adversary.ascent, _half(accuracy)
    climbs = getattr(ascent, "steps", 1) > 1
    longer, effort = MANY, f"by projected gradient with {MANY.steps} steps"
    if climbs:
        longer, effort = _doubled(ascent), "with twice the steps and restarts"
    more = session.attack(replace(session.adversary, ascent=longer)).accuracy
    change = abs(session.base.accuracy - more) if climbs else session.base.accuracy - more
    figure = f"{_percent(session.base.accuracy)}, {effort} {_percent(more)}; the interval's half is {_percent(half)}"
    return Check("more effort changes little", change <= half, figure)


def random_does_not_beat_it(session: AttackSession, draws: int) -> Check:
    """A gradient that is worse than chance is of no use to an attack."""
    drawn = session.attack(replace(session.adversary, ascent=RandomSearch(draws))).accuracy
    figure = f"{_percent(session.base.accuracy)} against {_percent(drawn)} after {draws} draws"
    return Check("random draws do not beat it", session.base.accuracy <= drawn + _slack(session), figure)


def gradients_are_sound(session: AttackSession) -> Check:
    """At random points, for images the model gets right; zero is a gradient that promises no rise above rounding."""
    sound = []
    for part, rows, generator in session.parts(session.adversary):
        with preserve_state(session.model, session.images.device) as model:
            x = session.images[rows].detach()
            region = part.perturbations.at(x)
            u = region.random_start(generator=generator).requires_grad_()
            value, _ = part.objective.at(model, x, take_rows(session.labels, rows))(region.decode(u), u)
            (gradient,) = torch.autograd.grad(value.sum(), u, allow_unused=True, materialize_grads=True)
        radii = region.ball.radii(gradient)[:, 0]
        rise = radii.where(radii > 0, 1) * torch.linalg.vecdot(gradient, region.steepest(gradient))
        noise = ROUNDING * torch.finfo(value.dtype).eps * value.detach().abs()
        sound.append(gradient.isfinite().all(1) & (rise > noise))
    broken = ~torch.cat(sound)[session.right]
    share = float(broken.cpu().double().mean()) if len(broken) else 0.0
    return Check("gradients are sound", share <= 1 - SOUND, f"{_percent(share)} are zero, NaN or infinite")


def output_is_repeatable(session: AttackSession) -> Check:
    """A model that draws at random must be attacked on the mean over its draws."""
    x = session.images[: session.batch]
    with preserve_state(session.model, x.device) as model, torch.no_grad():  # one block: the random state goes on
        first, second = logits(model, x), logits(model, x)
    difference = float((first - second).abs().max() / first.abs().max().clamp_min(torch.finfo(first.dtype).tiny))
    figure = f"two passes differ by {difference:.1g} of the largest logit"
    if difference > REPEATED:
        figure += ": attack `Averaged(model, draws)` instead"
    return Check("the same input gives the same output", difference <= REPEATED, figure)


def survives_rounding(session: AttackSession, accuracy: Interval) -> Check:
    """A change must survive in an image file of 8 bits."""
    name = "success survives rounding to 8 bits"
    if session.images.ndim != 4:
        return Check(name, None, "the samples are no images")
    rounded = float(session.right_on((session.base.images * 255).round() / 255).cpu().double().mean())
    figure = f"{_percent(session.base.accuracy)}, rounded {_percent(rounded)}"
    return Check(name, rounded - session.base.accuracy <= _half(accuracy), figure)


def transfer_does_not_beat_it(session: AttackSession, plain: Model | None) -> Check:
    """An attack on the model itself must do better than one on another model."""
    name = "transfer from a plain model does not beat it"
    if plain is None:
        return Check(name, None, "no plain model was given")
    moved = session.attack(session.adversary, on=plain).accuracy
    figure = f"{_percent(session.base.accuracy)} against {_percent(moved)} by transfer"
    return Check(name, session.base.accuracy <= moved + _slack(session), figure)


def _slack(session: AttackSession) -> float:
    return max(SLACK, 1 / len(session.images)) + 1e-9


def _half(accuracy: Interval) -> float:
    assert accuracy.low is not None
    assert accuracy.high is not None  # a share has an interval
    return (accuracy.high - accuracy.low) / 2


def _shrunk(adversary: Adversary, share: float) -> Adversary:
    """The adversary on a share of its radius, its steps shortened likewise."""
    perturbations, ascent = adversary.perturbations, adversary.ascent  # a set and perhaps an ascent with settings
    perturbations = replace(perturbations, radius=share * perturbations.radius)  # type: ignore[attr-defined, type-var]
    if (size := getattr(ascent, "step_size", None)) is not None:
        ascent = replace(ascent, step_size=share * size)  # type: ignore[type-var]
    return replace(adversary, perturbations=perturbations, ascent=ascent)


def _doubled(ascent: Any) -> Any:
    """Twice the steps, and twice the restarts where they differ."""
    twice: dict[str, Any] = {"steps": 2 * ascent.steps}
    if getattr(ascent, "starts", "zero") != "zero":
        twice["restarts"] = 2 * ascent.restarts
    return replace(ascent, **twice)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
