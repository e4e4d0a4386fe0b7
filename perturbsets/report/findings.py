"""What the numbers of a run say, in words: the summary, the key figures, the criteria."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perturbsets.intervals import ends
from perturbsets.stages import STAGES

Content = Mapping[str, Any]


@dataclass(frozen=True)
class KeyFigure:
    """A number worth seeing first.

    Attributes:
        label: What it is.
        value: The number.
        detail: Its interval and where it comes from.
    """

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Criterion:
    """One criterion with what it asks.

    Attributes:
        name: Its name.
        question: What it asks, in a sentence.
        value: The figure.
        interval: Its 95 % interval.
        meaning: How to read it.
    """

    name: str
    question: str
    value: str
    interval: str
    meaning: str


def percent(value: float) -> str:
    """A share in percent, with more digits where it is small."""
    if 0 < abs(value) < 1e-4:
        return f"{100 * value:.1g}%"
    return f"{value:.2%}" if abs(value) < 0.01 else f"{value:.1%}"


def share(entry: Content) -> str:
    """A share of the identity error."""
    return percent(entry["share"])


def times(ratio: float | None) -> str:
    """A ratio, where there is one."""
    return "–" if ratio is None else f"{ratio:.2f} ×"


def between(entry: Content, form: Callable[[Any], str] = percent, name: str = "") -> str:
    """The 95 % interval of an entry, or of a figure in it that has a name of its own."""
    return ends(entry[f"{name}low"], entry[f"{name}high"], form)


def likelihood(sufficient: Content) -> tuple[str, str]:
    """Bits per pixel with their interval, or with what they are where they are no estimate."""
    bits = sufficient["bits_per_pixel"]
    if bits.get("at_least") is None:
        return f"{bits['mean']:.2f}", "not known whether to be trusted: run `perturbsets check` again"
    if bits["trusted"]:
        return f"{bits['mean']:.2f}", between(bits, "{:.2f}".format)
    return f"≥ {math.floor(100 * bits['at_least']) / 100:.2f}", "a lower bound, not to be trusted as an estimate"


def share_interval(entry: Content) -> str:
    """The 95 % interval of a share of the identity error."""
    return between(entry, percent, "share_")


def with_interval(entry: Content, form: Callable[[Any], str] = percent) -> str:
    """A mean with its 95 % interval in brackets."""
    return f"{form(entry['mean'])} [{ends(entry['low'], entry['high'], form, ', ')}]"


def images(content: Content, kind: str = "images") -> str:
    """How many images a figure is of, and how many of them are independent where not all are."""
    count, units = content["images"], content.get("independent", content["images"])
    return f"{count:,} {kind}" if units == count else f"{count:,} {kind} of {units:,} independent units"


def most_telling(evaluation: Content) -> str | None:
    """The attack under which accuracies differ most, for one classifier the hardest; ``None`` without attacks."""
    table, rows = evaluation["accuracy"], evaluation["rows"]

    def spread(column: str) -> float:
        means = [float(table[row][column]["mean"]) for row in rows]
        return max(means) - min(means) if len(means) > 1 else -means[0]

    return max((column for column in evaluation["columns"] if column != "clean"), key=spread, default=None)


def summary(
    checks: Content | None,
    evaluation: Content | None,
    about: Content,
    stages: Sequence[str] = tuple(STAGES),
    features: Content | None = None,
) -> str:
    """The run in a paragraph."""
    sentences = [_purpose(stages)]
    if checks is not None:
        necessary = checks["necessary"]
        sentences.append(
            f"On {necessary['pairs']:,} held-out pairs of {necessary['sources']:,} source images, the nearest member "
            f"found in the set leaves {share(necessary['search'])} of the squared difference between the two images "
            f"(95 % interval {share_interval(necessary['search'])}). Asked for changes of another image, it leaves "
            f"{share(necessary['mismatched_search'])} ({share_interval(necessary['mismatched_search'])})."
        )
    attack = most_telling(evaluation) if evaluation is not None else None
    if evaluation is not None and attack is not None:
        cells = {row: evaluation["accuracy"][row][attack] for row in evaluation["rows"]}
        low, high = (choose(cells, key=lambda row: cells[row]["mean"]) for choose in (min, max))
        pixels = "the pixels of " if evaluation.get("unit") == "pixels" else ""
        first = f"of {pixels}{evaluation['images']:,} test images {low} gets {_accuracy(cells[low])} right"
        sentences.append(
            f"Classifiers differ most under {attack}: {first}, {high} {_accuracy(cells[high])}."
            if len(cells) > 1
            else f"Hardest is {attack}: {first}."
        )
    if features is not None:
        last = features["layers"][-1]
        found = features["by_layer"][last]
        sentences.append(
            f"Changes of at most {255 * features['radius']:.3g} of 255 levels a pixel bring the representation of "
            f"{features['pairs']:,} images at {last} to {_accuracy(found['ratio'])} of its distance from that of a "
            f"guide image, whose label {_accuracy(found['labels']['takes_guide'])} of them take."
        )
    if "seed" in about:
        sentences.append(f"Seed {about['seed']}.")
    return " ".join(sentences)


def _purpose(stages: Sequence[str]) -> str:
    if "fit" in stages:
        return (
            "From pairs of clean and changed images this run learns a perturbation set: around any clean image, "
            "everything a conditional VAE makes from a ball of latent offsets."
        )
    if "train" in stages:
        inside = ", from outside and at their inner representations" if "representations" in stages else ""
        return f"This run trains classifiers and attacks them{inside}."
    if "evaluate" in stages:
        return "This run attacks the classifiers of another run."
    if "representations" in stages:
        return "This run attacks the inner representations of a network."
    return "This run makes pairs of clean and changed images."


def key_figures(checks: Content | None, evaluation: Content | None, features: Content | None = None) -> list[KeyFigure]:
    """The numbers worth seeing first."""
    figures = []
    if checks is not None:
        necessary, radius = checks["necessary"], checks["radius"]
        size = f"{necessary['pairs']:,} pairs, {necessary['sources']:,} sources"
        bits, bits_interval = likelihood(checks["sufficient"])
        figures = [
            KeyFigure("left by the nearest member", share(necessary["search"]), share_interval(necessary["search"])),
            KeyFigure(
                "left on mismatched pairs",
                share(necessary["mismatched_search"]),
                share_interval(necessary["mismatched_search"]),
            ),
            KeyFigure("bits per pixel", bits, bits_interval),
            KeyFigure(
                "radius",
                f"{radius['value']:.2f}",
                f"prior standard deviations, {_origin(radius)}",
            ),
        ]
        figures = [
            KeyFigure(figure.label, figure.value, f"{figure.detail}; {size}" if number < 3 else figure.detail)
            for number, figure in enumerate(figures)
        ]
    attack = most_telling(evaluation) if evaluation is not None else None
    if evaluation is not None and attack is not None:
        cells = [evaluation["accuracy"][row][attack] for row in evaluation["rows"]]
        best = max(cells, key=lambda cell: float(cell["mean"]))
        figures.append(
            KeyFigure(
                f"best accuracy under {attack}",
                f"{best['mean']:.1%}",
                f"{between(best, '{:.1%}'.format)}; {images(evaluation)}, {_seeds(evaluation['seeds'])}",
            )
        )
    if features is not None:
        found, size = features["by_layer"][features["layers"][-1]], f"{features['pairs']:,} pairs"
        for label, entry in (
            ("adversaries that take the guide’s label", found["labels"]["takes_guide"]),
            ("distance to the guide left", found["ratio"]),
        ):
            detail = f"{between(entry, '{:.1%}'.format)}; {size}"
            figures.append(KeyFigure(label, f"{entry['mean']:.1%}", detail))
    return figures


def criteria(checks: Content) -> list[Criterion]:
    """The criteria with their figures and how to read them."""
    necessary, sufficient, approximation = checks["necessary"], checks["sufficient"], checks["approximation"]
    search, encoding, mismatched = (necessary[name] for name in ("search", "encoding", "mismatched_search"))
    bits, bits_interval = likelihood(sufficient)
    return [
        Criterion(
            "Necessary subset property",
            "Is every real change in the set?",
            share(search),
            share_interval(search),
            "What the nearest member found leaves of the squared difference between clean and changed image; lower "
            f"is better, 0 % means that every change is in the set. At the encoding alone it is {share(encoding)}. "
            f"Per pixel: mean {search['mean']:.2g}, 95 % of pairs at most {search['q95']:.2g}. The search bounds the "
            f"true minimum from above. {_above(search)}",
        ),
        *_centre(necessary),
        Criterion(
            "Mismatched pairs",
            "Can the set make anything out of anything?",
            share(mismatched),
            share_interval(mismatched),
            "The same search, but towards changed images of another source. It should stay far above the line before: "
            "a set that holds all images would meet that one as well.",
        ),
        Criterion(
            "Sufficient likelihood property",
            "Are real changes likely in the set?",
            f"{bits} bits",
            bits_interval,
            "Mean log-likelihood of changed images per pixel, with offsets drawn from the prior within the ball; more "
            f"is better. Measure: {sufficient['measure']}; compare only what has the same likelihood and floor. "
            f"Estimated by importance sampling with {sufficient['draws']} draws a pair, worth "
            f"{sufficient['effective_sample_size']:.1f} independent ones on average. {sufficient['warning']}",
        ),
        Criterion(
            "Expected approximation error",
            "How near is a change drawn at random?",
            share(approximation),
            f"{between(approximation, '{:.2g}'.format)} per pixel",
            f"Mean squared error of random members, {approximation['mean']:.2g} per pixel, as a share of the "
            "difference between clean and changed image. A set with many different changes in it misses any one "
            "of them by chance, so this is no fault by itself.",
        ),
        *_around(checks["overapproximation"]),
        *_quality(checks.get("quality")),
    ]


def _centre(necessary: Content) -> list[Criterion]:
    """How far offset 0 is from the clean image; runs of former versions have not measured it."""
    if "centre" not in necessary:
        return []
    centre, largest = necessary["centre"], necessary["centre_largest"]
    return [
        Criterion(
            "Offset 0",
            "Is the clean image in the set?",
            share(centre),
            share_interval(centre),
            "At radius 0 the set holds one image, what the generator makes of x at offset 0, and not x itself. This is "
            "its squared difference from x, as a share of that between clean and changed image; lower is better. Per "
            f"pixel: mean {centre['mean']:.2g}, 95 % of pairs at most {centre['q95']:.2g}. A single pixel differs by "
            f"{largest['mean']:.2g} on average over pairs, and by {largest['max']:.2g} at most. So accuracy at radius "
            "0 need not be accuracy on clean images.",
        )
    ]


def _above(search: Content) -> str:
    """What of the explainable is left."""
    if search["above_floor"] is None:
        return ""
    return f"Of what the generator can explain at any offset, {percent(search['above_floor'])} goes unexplained."


def _around(figures: Content) -> list[Criterion]:
    """How far the set reaches, and how its members differ."""
    reach, sampled, diversity = (figures[name] for name in ("reach", "sampled", "diversity"))
    labels = figures["labels"]
    known = (
        ""
        if labels is None
        else f" The classifier {labels['classifier']} knows {percent(labels['clean']['mean'])} of the clean images, "
        f"{percent(labels['changed']['mean'])} of the real changes, {percent(labels['samples']['mean'])} of samples, "
        f"and {percent(labels['worst']['mean'])} in the worst case found."
    )
    return [
        Criterion(
            "Reach",
            "How far does the set go beyond real changes?",
            times(reach["ratio"]),
            between(reach, times, "ratio_"),
            "Squared distance from x of the farthest member found, over that of the largest real change of the same "
            f"source; samples lie at {times(sampled['ratio'])} the mean real change. A lower bound: a better search "
            f"can only find more.{known}",
        ),
        Criterion(
            "Diversity",
            "Do members differ as real changes do?",
            times(diversity["ratio"]),
            "no source has several real changes" if diversity["ratio"] is None else between(diversity, times, "ratio_"),
            "Mean squared distance between two samples around one image, over that between two real changes of it. "
            "Near 0 the set is a single image; 1 is as varied as the world.",
        ),
    ]


def _quality(quality: Content | None) -> list[Criterion]:
    """What samples look like beside real changes; runs of former versions have not measured it."""
    if quality is None:
        return []
    distance, precision, recall = (quality[name] for name in ("frechet", "precision", "recall"))
    return [
        Criterion(
            "Fréchet distance",
            "Do samples look like real changes?",
            f"{distance['samples']:.3g}",
            f"{distance['real']:.3g} for real changes, {distance['clean']:.3g} for none",
            f"Between {quality['images']:,} samples and {quality['reference']:,} other real changed images, "
            f"in the space of {quality['features']}; lower is better. It falls with the number of images, so read it "
            "between what as many real changed images and the clean ones give.",
        ),
        Criterion(
            "Precision and recall",
            "Does the set keep to real changes, and show all of them?",
            f"{percent(precision['mean'])}, {percent(recall['mean'])}",
            f"{between(precision)}, {between(recall)}",
            "Shares of the samples that lie among real changed images, and of real changed images that lie among "
            "samples, in the same space. A set that reaches too far loses the first, one that is too narrow the "
            "second.",
        ),
    ]


def verdicts(rows: Sequence[str], audits: Content | None) -> dict[str, dict[str, int]]:
    """How many checks failed, for every classifier and attack that was audited."""
    audited = {} if audits is None else audits["rows"]
    return {
        row: {
            column: sum(check["passed"] is False for check in cell["checks"])
            for column, cell in audited.get(row, {}).items()
        }
        for row in rows
    }


def sample_note(evaluation: Content) -> str:
    """What the accuracies were measured on."""
    shares = evaluation.get("unit") == "pixels"
    what = "shares of right pixels, " if shares else ""
    return (
        f"{what}{images(evaluation, 'test images')}, {_seeds(evaluation['seeds'])}; intervals are over independent "
        "units, the seeds of an image together."
    )


def _origin(radius: Content) -> str:
    if radius["quantile"] is None:
        return "as the recipe says"
    return f"the smallest that holds {100 * radius['quantile']:g} % of {radius['pairs']:,} pairs"


def _accuracy(cell: Content) -> str:
    return with_interval(cell, "{:.1%}".format)


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
