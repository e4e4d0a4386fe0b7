"""The verdict on a learned set: good, usable or not good, the figures that decided, and the next knob to turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from perturbsets.criteria.diagnosis import MOST_COPIED
from perturbsets.intervals import LEAST
from perturbsets.sets.balls import chi_quantile

Content = Mapping[str, Any]
GRADES = ("good", "usable", "not good")


class Limit(NamedTuple):
    """The largest values of a figure in a good set, and in a usable one."""

    good: float
    usable: float

    def grade(self, value: float) -> str:
        """The grade of a value."""
        return GRADES[(value > self.good) + (value > self.usable)]


LEFT = Limit(0.05, 0.2)
"""Share of the squared change that the nearest member leaves: in amplitude 22 % and 45 % of it."""

COPIED = Limit(0.05, MOST_COPIED)
"""Share of mismatched pairs that come as near as real changes, as :data:`MOST_COPIED` explains."""

REACH = Limit(4.0, 16.0)
"""Squared distance of the farthest member over that of the largest real change: twice and four times as far. The
packaged sets of digits have 2.2 and 2.9; they are used in smaller balls where that matters."""

SPREAD = Limit(2.0, 4.0)
"""Mean squared displacement of samples over that of real changes, or its inverse where that is larger."""

STRANGE = Limit(0.3, 0.6)
"""Share of samples that lie among no real changes, or of real changes among no samples, whichever is larger; it is 0.08
in the packaged sets of digits, and not 0 for real changes either."""

APART = Limit(0.25, 1.0)
"""Fréchet distance of samples from real changes, on a scale where other real changes have 0 and clean images 1."""

BEYOND = Limit(1.5, 2.5)
"""Radius over the norm that 99.9 % of the prior's draws do not exceed. A fit decodes no offset far beyond it, so that
nothing holds these members near real changes. The packaged sets have 0.9 to 1.4."""

SOURCES = (29, LEAST)
"""Least numbers of independent sources in a good and in a usable set. What held for all of n sources holds for a share
of 0.05^(1/n) of future ones with confidence 95 % (Wilks 1941): 90 % for 29. Below 5 no interval keeps its level."""

ALIKE = 0.9
"""Error towards a pair's own change over that towards another image's, above which a set does not tell them apart."""

STRANGERS = 0.95
"""Difference of the images of a pair over that of images of different pairs, from which on they look unrelated."""

MOVED = 0.1
"""Share by which the validation error must fall in the last quarter of the steps, or rise after its best, to count."""

OVERFIT = 0.5
"""Error on trained pairs over that on held-out ones, below which more pairs help."""


@dataclass(frozen=True)
class Reason:
    """One figure, its grade, and what it means.

    Attributes:
        name: Name of the figure.
        figure: Its value.
        grade: ``"good"``, ``"usable"`` or ``"not good"``: the best verdict that it allows.
        sentence: The figure in a sentence.
        mark: Key figures that are not to be trusted because of it.
    """

    name: str
    figure: float
    grade: str
    sentence: str
    mark: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """The next knob to turn.

    Attributes:
        knob: ``"alignment"``, ``"beta"``, ``"quantile"``, ``"pairs"``, ``"steps"``, ``"latent"``, ``"network"`` or
            ``"draws"``.
        sentence: How to turn it, and why.
    """

    knob: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Whether a set is good.

    Attributes:
        grade: ``"good"``, ``"usable"`` or ``"not good"``: the worst of its reasons.
        reasons: At most three figures that decided, the worst first.
        advice: At most two knobs, the one to turn first at first; none for a good set.
        marks: Key figures that are not to be trusted, and why: ``"nearest member"``, ``"mismatched"``,
            ``"bits per pixel"``, ``"radius"``.
    """

    grade: str
    reasons: tuple[Reason, ...]
    advice: tuple[Advice, ...]
    marks: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return asdict(self)


def judge(checks: Content) -> Verdict:
    """Judges a set by its criteria.

    The grade is that of the worst figure, so that a good set is one with which nothing is wrong that these figures can
    show. Few sources allow no better grade than usable, as they say little for the set, and so does a likelihood that
    is not trusted where samples were not compared with real changes either. What was not measured does not count.

    Args:
        checks: What :func:`perturbsets.criteria.check.check_set` returned, or ``checks/checks.json`` of a run. Its
            ``radius`` and ``fitted`` (:func:`perturbsets.criteria.fitted.fitted_figures`) may be absent.

    Raises:
        ValueError: If a criterion is absent.
    """
    try:
        reasons = [reason for rule in RULES for reason in rule(checks)]
        advice = tuple(_advice(checks, {reason.name: reason.grade for reason in reasons}))
    except KeyError as error:
        raise ValueError(
            f"checks must hold all criteria, got some without {error}: run the check stage again"
        ) from error
    worst_first = sorted(reasons, key=lambda reason: -GRADES.index(reason.grade))
    grade = worst_first[0].grade
    decided = [reason for reason in worst_first if reason.grade != "good"] or worst_first
    marks = {key: reason.sentence for reason in reversed(worst_first) for key in reason.mark}
    return Verdict(grade, tuple(decided[:3]), advice[:2] if grade != "good" else (), marks)


# The figures, those that matter most at first.


def _degenerate(checks: Content) -> Iterator[Reason]:
    for finding in checks["findings"]:
        if finding["name"] != "returns everything":  # which is the figure on mismatched pairs
            yield Reason(finding["name"], finding["figure"], "not good", finding["sentence"], ("nearest member",))


def _left(checks: Content) -> Iterator[Reason]:
    share = checks["necessary"]["search"]["share"]
    yield Reason("left", share, LEFT.grade(share), f"the nearest member leaves {share:.2%} of the change")


def _copied(checks: Content) -> Iterator[Reason]:
    necessary = checks["necessary"]
    copied, foreign = necessary["copied"]["mean"], necessary["mismatched_search"]["share"]
    sentence = (
        f"for changes of another image the nearest member leaves {foreign:.2%}, and on {copied:.1%} of the pairs no "
        "more than for typical changes of its own"
    )
    mark = ("nearest member", "mismatched") if copied > COPIED.usable else ()
    yield Reason("copied", copied, COPIED.grade(copied), sentence, mark)


def _reach(checks: Content) -> Iterator[Reason]:
    figures = checks["overapproximation"]
    reach, sampled = figures["reach"]["ratio"], figures["sampled"]["ratio"]
    if reach is not None:
        sentence = f"the farthest member lies {reach**0.5:.1f} times as far from x as the largest real changes"
        yield Reason("reach", reach, REACH.grade(reach), sentence)
    if sampled:
        spread = max(sampled, 1 / sampled)
        sentence = f"samples are displaced {sampled:.2g} times as much as real changes (mean squares)"
        yield Reason("spread", spread, SPREAD.grade(spread), sentence)


def _quality(checks: Content) -> Iterator[Reason]:
    quality = checks.get("quality")
    if quality is None:
        return
    precision, recall = quality["precision"]["mean"], quality["recall"]["mean"]
    strange = 1 - min(precision, recall)
    sentence = f"{precision:.0%} of the samples lie among real changes, {recall:.0%} of these among samples"
    yield Reason("strange", strange, STRANGE.grade(strange), sentence)
    distance = quality["frechet"]
    room = distance["clean"] - distance["real"]
    if room > distance["real"]:  # or the features do not tell clean from changed images
        apart = max(0.0, (distance["samples"] - distance["real"]) / room)
        sentence = (
            f"the Fréchet distance of samples from real changes is {distance['samples']:.2g} (other real changes "
            f"{distance['real']:.2g}, clean images {distance['clean']:.2g})"
        )
        yield Reason("apart", apart, APART.grade(apart), sentence)


def _radius(checks: Content) -> Iterator[Reason]:
    radius, latent = checks.get("radius"), checks.get("fitted", {}).get("latent")
    if radius is None or latent is None:
        return
    usual = float(chi_quantile(np.log([0.999]), latent, np.array([np.inf]))[0])
    sentence = (
        f"the radius is {radius['value']:.1f}, but 99.9 % of the prior's draws in {latent} dimensions lie within "
        f"{usual:.1f}"
    )
    beyond = radius["value"] / usual
    yield Reason("beyond", beyond, BEYOND.grade(beyond), sentence, ("radius",) if beyond > BEYOND.good else ())


def _likelihood(checks: Content) -> Iterator[Reason]:
    trusted = checks["sufficient"]["bits_per_pixel"]["trusted"]
    sentence = "the likelihood is an estimate to be trusted" if trusted else "the likelihood is a lower bound only"
    grade = "good" if trusted or "quality" in checks else "usable"  # where samples were not compared either
    yield Reason("likelihood", float(trusted), grade, sentence, () if trusted else ("bits per pixel",))


def _sources(checks: Content) -> Iterator[Reason]:
    radius = checks.get("radius") or {}
    measured = radius.get("sources") if radius.get("quantile") is not None else None  # or the radius was given
    for name, count, what, mark in (
        ("judges", checks["necessary"]["sources"], "judge it", ("nearest member", "mismatched", "bits per pixel")),
        ("setters", measured, "set its radius", ("radius",)),
    ):
        if count is not None:
            grade = GRADES[sum(count < least for least in SOURCES)]
            few = ", which are few" if grade != "good" else ""
            yield Reason(name, float(count), grade, f"{count:,} independent sources {what}{few}", mark if few else ())


RULES = (_degenerate, _left, _copied, _quality, _reach, _radius, _likelihood, _sources)


# The knobs, the first that apply at first.


def _advice(checks: Content, grades: Mapping[str, str]) -> list[Advice]:
    """The knobs that apply: those against the worst figures at first, else in this order."""
    necessary, fitted = checks["necessary"], checks.get("fitted", {})
    collapsed = "returns only x" in grades or "ignores the offsets" in grades
    knobs: tuple[tuple[tuple[str, ...], Iterator[Advice]], ...] = (
        (("left", "copied"), _alignment(necessary)),
        (("returns only x", "ignores the offsets"), itertools.chain(_steps(fitted), [COLLAPSED])),
        (("left",), iter(()) if collapsed else _closer(necessary, fitted)),
        (("copied", "reach", "beyond"), _smaller(necessary, far=grades["left"] == "not good")),
        (("strange", "apart", "spread"), iter([UNLIKE] if grades["left"] != "not good" else ())),
        (("judges", "setters"), iter([FEW])),
        (("likelihood",), iter([UNTRUSTED])),
    )
    graded = [(max(GRADES.index(grades.get(name, "good")) for name in names), advice) for names, advice in knobs]
    return [each for grade, advice in sorted(graded, key=lambda one: -one[0]) if grade for each in advice]


COLLAPSED = Advice("beta", "take a tenth of fit.beta or a longer fit.beta_warmup: the latents carry next to nothing")
UNLIKE = Advice("beta", "take three times fit.beta, so that encodings lie where the prior draws samples from")
FEW = Advice("pairs", "collect pairs of more independent sources for the splits validation and test")
UNTRUSTED = Advice("draws", "take twice check.sufficient.draws, until the likelihood is to be trusted")


def _alignment(necessary: Content) -> Iterator[Advice]:
    own, foreign = necessary["search"], necessary["mismatched_search"]
    near = necessary["identity"]["mean"] / necessary["mismatched_identity"]["mean"]
    if near >= STRANGERS and own["share"] >= ALIKE * foreign["share"]:
        yield Advice(
            "alignment",
            f"look whether pairs are of one image each: clean and changed images differ {near:.0%} as much as images "
            "of different pairs, and the set comes no nearer to its own changes than to those of others",
        )
    elif own["median"] < own["mean"] / 4 and own["q95"] > ALIKE * foreign["median"]:
        yield Advice(
            "alignment",
            "look at the worst pairs of the report, which are as far from the set as changes of other images while "
            "most pairs are near: they may be of two images, or of a condition that the training pairs lack",
        )


def _closer(necessary: Content, fitted: Content) -> Iterator[Advice]:
    """What to do against a large error, by its cause."""
    left, floor, held = necessary["search"]["share"], necessary["floor"]["share"], necessary["reconstruction"]["share"]
    if floor < left / 2:
        yield Advice(
            "quantile", f"take a larger radius or set.quantile: in a larger ball {floor:.1%} of the change is left"
        )
    learned = fitted.get("share")
    rising = fitted.get("rising")
    if rising is not None and rising > MOVED:
        yield Advice(
            "pairs",
            f"collect more than {fitted['sources']:,} training sources: after its best the validation error rose by "
            f"{rising:.0%}",
        )
    elif learned is not None and learned < OVERFIT * held:
        yield Advice(
            "pairs",
            f"collect more than {fitted['sources']:,} training sources: at the encodings {learned:.1%} is left of "
            f"trained changes, and {held:.1%} of held-out ones",
        )
    yield from _steps(fitted)
    latent, used = fitted.get("latent"), fitted.get("used")
    if latent is not None and used == latent:
        yield Advice("latent", f"take twice model.latent: each of the {latent} is used")
    used_of = "" if latent is None else f": {used} of {latent} latents are used"
    yield Advice("network", f"take a wider or another model.build, or less fit.beta{used_of}")


def _steps(fitted: Content) -> Iterator[Advice]:
    passes, falling = fitted.get("passes"), fitted.get("falling")
    if passes is not None and passes < 1:
        yield Advice(
            "steps", f"take {2 / passes:.0f} times fit.steps: only {passes:.0%} of the training pairs were seen"
        )
    elif falling is not None and falling > MOVED:
        yield Advice("steps", f"take twice fit.steps: the error still fell by {falling:.0%} in their last quarter")


def _smaller(necessary: Content, *, far: bool) -> Iterator[Advice]:
    """What to do against members that are no real changes."""
    curve = sorted(necessary["curve"], key=lambda entry: float(entry["radius"]))
    enough = max(LEFT.good, 1.2 * necessary["search"]["share"])
    smallest = next((entry for entry in curve if entry["search"]["share"] <= enough), None)
    own, foreign = ((smallest or curve[0])[name]["share"] for name in ("search", "mismatched_search"))
    if smallest is not None and own <= 0.5 * foreign:
        yield Advice(
            "quantile",
            f"take a smaller set.quantile or set.radius: at {smallest['radius']:.2g} the nearest member leaves "
            f"{own:.1%}, and {foreign:.0%} of changes of other images",
        )
    elif not far:
        yield Advice("latent", "take half of model.latent, or ten times fit.beta: the set copies whatever it is given")
