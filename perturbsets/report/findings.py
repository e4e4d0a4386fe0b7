"""The numbers of a run in words: formats, the summary and the key figures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from perturbsets.intervals import ends
from perturbsets.stages import STAGES

Content = Mapping[str, Any]


class KeyFigure(NamedTuple):
    """A number for the top of the page, with its interval, its sample size, and why it is not to be trusted, if so."""

    label: str
    value: str
    detail: str
    mark: str = ""


def percent(value: float) -> str:
    """A share in percent, with more digits where it is small."""
    if 0 < abs(value) < 1e-4:
        return f"{100 * value:.1g}%"
    return f"{value:.2%}" if abs(value) < 0.01 else f"{value:.1%}"


def share(entry: Content) -> str:
    """A share of the identity error."""
    return percent(entry["share"])


def times(ratio: float | None) -> str:
    """A ratio, or a dash."""
    return "–" if ratio is None else f"{ratio:.2f} ×"


def between(entry: Content, form: Callable[[Any], str] = percent, name: str = "") -> str:
    """The 95 % interval of an entry, or of the figure in it whose keys begin with a name."""
    return ends(entry[f"{name}low"], entry[f"{name}high"], form)


def likelihood(sufficient: Content) -> tuple[str, str]:
    """Bits per pixel with their interval; a lower bound where the estimate is not to be trusted."""
    bits = sufficient["bits_per_pixel"]
    if bits.get("at_least") is None:
        return f"{bits['mean']:.2f}", "trust not recorded: run `perturbsets check` again"
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
    """Number of images, and of independent units where these are fewer."""
    count, units = content["images"], content.get("independent", content["images"])
    return f"{count:,} {kind}" if units == count else f"{count:,} {kind} of {units:,} independent units"


def headline_attack(evaluation: Content) -> str | None:
    """The attack under which accuracies differ most; for one classifier the strongest; ``None`` without attacks."""
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
            f"On {necessary['pairs']:,} held-out pairs of {necessary['sources']:,} source images, the squared error of "
            f"the nearest member found is {share(necessary['search'])} of the squared difference between clean and "
            f"changed image (95 % interval {share_interval(necessary['search'])}). For changes of another image it is "
            f"{share(necessary['mismatched_search'])} ({share_interval(necessary['mismatched_search'])})."
        )
    if evaluation is not None and (attack := headline_attack(evaluation)) is not None:
        cells = {row: evaluation["accuracy"][row][attack] for row in evaluation["rows"]}
        low, high = (choose(cells, key=lambda row: cells[row]["mean"]) for choose in (min, max))
        pixels = "the pixels of " if evaluation.get("unit") == "pixels" else ""
        first = f"on {pixels}{evaluation['images']:,} test images {low} has {_accuracy(cells[low])}"
        sentences.append(
            f"Accuracies differ most under {attack}: {first}, {high} {_accuracy(cells[high])}."
            if len(cells) > 1
            else f"Accuracy is lowest under {attack}: {first}."
        )
    if features is not None:
        entry = features["by_layer"][last := features["layers"][-1]]
        sentences.append(
            f"Changes of at most {255 * features['radius']:.3g} of 255 levels per pixel reduce the distance of "
            f"{features['pairs']:,} images from a guide image in the representation at {last} to "
            f"{_accuracy(entry['ratio'])}; {_accuracy(entry['labels']['takes_guide'])} are classified as the guide."
        )
    if "seed" in about:
        sentences.append(f"Seed {about['seed']}.")
    return " ".join(sentences)


def _purpose(stages: Sequence[str]) -> str:
    if "fit" in stages:
        return (
            "From pairs of clean and changed images this run learns a perturbation set: all images that a conditional "
            "VAE decodes from a ball of latent offsets around a clean image."
        )
    if "train" in stages:
        inside = ", also at their inner representations" if "representations" in stages else ""
        return f"This run trains classifiers and attacks them{inside}."
    if "evaluate" in stages:
        return "This run attacks the classifiers of another run."
    if "representations" in stages:
        return "This run attacks the inner representations of a network."
    return "This run makes pairs of clean and changed images."


def key_figures(checks: Content | None, evaluation: Content | None, features: Content | None = None) -> list[KeyFigure]:
    """The numbers for the top of the page."""
    figures = []
    if checks is not None:
        necessary, radius = checks["necessary"], checks["radius"]
        size = f"{necessary['pairs']:,} pairs, {necessary['sources']:,} sources"
        bits, bits_interval = likelihood(checks["sufficient"])
        matched, mismatched = necessary["search"], necessary["mismatched_search"]
        marks = defaultdict(str, checks.get("verdict", {}).get("marks", {}))
        figures = [
            KeyFigure(
                "error of the nearest member",
                share(matched),
                f"{share_interval(matched)}; {size}",
                marks["nearest member"],
            ),
            KeyFigure(
                "on mismatched pairs", share(mismatched), f"{share_interval(mismatched)}; {size}", marks["mismatched"]
            ),
            KeyFigure("bits per pixel", bits, f"{bits_interval}; {size}", marks["bits per pixel"]),
            KeyFigure(
                "radius", f"{radius['value']:.2f}", f"prior standard deviations, {_origin(radius)}", marks["radius"]
            ),
        ]
    if evaluation is not None and (attack := headline_attack(evaluation)) is not None:
        cells = [evaluation["accuracy"][row][attack] for row in evaluation["rows"]]
        best = max(cells, key=lambda cell: float(cell["mean"]))
        detail = f"{between(best, '{:.1%}'.format)}; {images(evaluation)}, {_seeds(evaluation['seeds'])}"
        figures.append(KeyFigure(f"best accuracy under {attack}", f"{best['mean']:.1%}", detail))
    if features is not None:
        last, size = features["by_layer"][features["layers"][-1]], f"{features['pairs']:,} pairs"
        for label, entry in (
            ("adversaries classified as the guide", last["labels"]["takes_guide"]),
            ("remaining distance to the guide", last["ratio"]),
        ):
            detail = f"{between(entry, '{:.1%}'.format)}; {size}"
            figures.append(KeyFigure(label, f"{entry['mean']:.1%}", detail))
    return figures


def verdicts(rows: Sequence[str], audits: Content | None) -> dict[str, dict[str, int]]:
    """Number of failed checks of every audited classifier and attack."""
    audited = {} if audits is None else audits["rows"]

    def failed(cell: Content) -> int:
        return sum(check["passed"] is False for check in cell["checks"])

    return {row: {column: failed(cell) for column, cell in audited.get(row, {}).items()} for row in rows}


def sample_note(evaluation: Content) -> str:
    """The sample that accuracies were measured on."""
    unit = "shares of correct pixels, " if evaluation.get("unit") == "pixels" else ""
    return (
        f"{unit}{images(evaluation, 'test images')}, {_seeds(evaluation['seeds'])}; intervals are over independent "
        "units, the seeds of an image together."
    )


def _origin(radius: Content) -> str:
    if radius["quantile"] is None:
        return "as the recipe says"
    return f"the smallest that contains {100 * radius['quantile']:g} % of {radius['pairs']:,} pairs"


def _accuracy(cell: Content) -> str:
    return with_interval(cell, "{:.1%}".format)


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
