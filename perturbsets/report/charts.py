"""Charts of encodings and errors, training and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cvae.progress import Record
from perturbsets.report.drawing import LIGHT, Chart, annotate, draw_chart, percent_axis, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]  # steps and values

SMOOTHED = 5  # records in a running mean: losses of single batches are noisy


def norms_chart(norms: Tensor, radius: float, dimensions: int | None) -> Chart:
    """Histogram of the norms of the encodings, with the radius."""
    inside = float((norms <= radius * (1 + 1e-6)).double().mean())

    def draw(axes: Axes) -> None:
        axes.hist(norms.numpy(), bins=40, color=LIGHT["accent"], alpha=0.75)
        axes.axvline(radius, color=LIGHT["warm"])
        place = ("data", "axes fraction")
        annotate(axes, f"radius {radius:.2f}", (radius, 1.0), (-5, -4), "warm", xycoords=place, va="top")
        if dimensions is not None:
            axes.axvline(dimensions**0.5, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        axes.set(xlim=(0, None), xlabel="norm of the encoding, in prior standard deviations", ylabel="validation pairs")

    dotted = "" if dimensions is None else " The dotted line is the typical norm of a draw from the prior, √Z."
    return draw_chart(
        "norms",
        draw,
        title="Norms of the encodings",
        alt=f"Histogram of {len(norms)} encoding norms from {float(norms.min()):.2f} to {float(norms.max()):.2f}, "
        f"median {float(norms.median()):.2f}; the radius is {radius:.2f}.",
        caption=f"Norms of {len(norms):,} validation pairs; {inside:.1%} lie within the radius.{dotted}",
    )


def errors_chart(errors: Mapping[str, Tensor]) -> Chart:
    """Cumulative shares of pairs by error, one curve per kind of error."""

    def draw(axes: Axes) -> None:
        for number, (label, values) in enumerate(errors.items()):
            ordered = values.double().clamp_min(1e-9).sort().values
            rank = torch.arange(1, len(ordered) + 1) / len(ordered)
            points = torch.linspace(0, len(ordered) - 1, min(200, len(ordered))).long()
            axes.plot(ordered[points].numpy(), rank[points].numpy(), color=series(number)[0], label=label)
        axes.set_xscale("log")
        percent_axis(axes)
        axes.set(xlabel="mean squared error per pixel", ylabel="share of pairs with less")
        axes.legend(loc="best")

    medians = ", ".join(f"{label} {float(values.median()):.2g}" for label, values in errors.items())
    return draw_chart(
        "errors",
        draw,
        title="Errors per pair",
        alt=f"Cumulative shares of pairs over the error on a logarithmic axis. Medians: {medians}.",
        caption="For a good set the curve of the nearest member is far to the left of that of the clean image, and the "
        "curve of mismatched pairs is not.",
    )


FITTED = {  # name of a chart -> title, keys of training and validation, label of the axis, caption
    "fit-score": (
        "Negative evidence bound",
        ("loss", "score"),
        "nats per pixel; lower is better",
        "The weight of the divergence warms up; the model with the lowest validation score is kept.",
    ),
    "fit-kl": (
        "Information in the latents",
        ("kl", "validation_kl"),
        "divergence, nats per pixel",
        "Zero would mean that the generator ignores the latents and the set is a single image.",
    ),
    "fit-scale": (
        "Scale of the generator's error",
        ("scale", "validation_scale"),
        "pixel value",
        "The root mean square error of the generator.",
    ),
}
STYLES: dict[str, dict[str, Any]] = {
    "training": {"color": LIGHT["accent"], "linewidth": 1},
    "validation": {"color": LIGHT["warm"], "linewidth": 1.6, "marker": "o", "markersize": 4},
}


def fit_charts(records: Sequence[Record]) -> list[Chart]:
    """The objective, the divergence and the generator's scale over the steps of the fit."""
    charts = []
    for name, (title, keys, label, caption) in FITTED.items():
        columns = zip(STYLES, (_column(records, key) for key in keys), strict=True)
        curves = {kind: curve for kind, curve in columns if curve[0]}
        if not curves:
            continue
        ends = "; ".join(f"{kind} ends at {values[-1]:.4g}" for kind, (_, values) in curves.items())
        draw = partial(_draw_fit, curves=curves, label=label, logarithmic=name == "fit-scale")
        charts.append(draw_chart(name, draw, title=title, alt=f"{title} over the steps: {ends}.", caption=caption))
    return charts


def _draw_fit(axes: Axes, curves: Mapping[str, Curve], label: str, *, logarithmic: bool) -> None:
    for kind, (steps, values) in curves.items():
        axes.plot(steps, values, label=kind, **STYLES[kind])
    settled = [value for _, values in curves.values() for value in values[len(values) // 20 :]]
    if logarithmic and min(settled) > 0:
        axes.set_yscale("log")
    else:
        margin = 0.06 * (max(settled) - min(settled)) or 1.0
        axes.set_ylim(min(settled) - margin, max(settled) + margin)
    axes.set(xlabel="step", ylabel=label)
    axes.legend()


def classifier_charts(trained: Mapping[str, Sequence[Sequence[Record]]], order: Sequence[str]) -> list[Chart]:
    """Training accuracy and loss of every classifier over its steps."""
    names = [name for name in order if name in trained] + [name for name in trained if name not in order]
    accuracy = f"On each method's own training images, perturbed or not. Running means of {SMOOTHED} records."
    charts = []
    for key, caption in (("accuracy", accuracy), ("loss", "")):
        curves = {name: curve for name in names if (curve := _mean_curve(trained[name], key))[0]}
        if not curves:
            continue

        def draw(axes: Axes, curves: dict[str, Curve] = curves, share: bool = key == "accuracy") -> None:
            for name, (steps, values) in curves.items():
                axes.plot(steps, values, color=series(names.index(name))[0], linewidth=1.3, label=name)
            if share:
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
                axes.legend(loc="lower right")
            axes.set_xlabel("step")

        title = f"Training {key}"
        ends = ", ".join(f"{name} {values[-1]:.3g}" for name, (_, values) in curves.items())
        alt = f"{title} over the steps, one curve per classifier; at the end: {ends}."
        charts.append(draw_chart(f"classifiers-{key}", draw, title=title, alt=alt, caption=caption))
    return charts


def accuracy_chart(table: Mapping[str, Any]) -> Chart:
    """Accuracy of every classifier under every attack, as dots with intervals."""
    rows, columns = table["rows"], table["columns"]
    cells = {(row, column): table["accuracy"][row][column] for row in rows for column in columns}
    spans = []
    for column in columns:
        means = {row: cells[row, column]["mean"] for row in rows}
        low, high = (choose(means, key=means.__getitem__) for choose in (min, max))
        spans.append(f"{column}: {means[low]:.0%} ({low}) to {means[high]:.0%} ({high})")
    return draw_chart(
        "accuracy",
        lambda axes: dots(axes, rows, columns, cells, "accuracy"),
        title="Accuracy under each attack",
        alt=f"Accuracies with intervals, grouped by attack. {'; '.join(spans)}.",
        caption="Dots are means, bars 95 % intervals.",
        **dots_size(rows, columns),
    )


def dots(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], Mapping[str, Any]],
    label: str,
) -> None:
    """Shares as dots with intervals: a colour for each row, a group for each column; cells may be missing."""
    step, apart = 1.0, 1.4
    middles, place = [], 0.0
    named = set[str]()
    for column in columns:
        middles.append(place + step * (len(rows) - 1) / 2)
        for number, row in enumerate(rows):
            at, (colour, marker) = place + step * number, series(number)
            if (row, column) in cells:
                cell = cells[row, column]
                low, high = cell["low"], cell["high"]
                if low is not None and high is not None:
                    axes.plot([low, high], [at, at], color=colour, linewidth=2.2, alpha=0.45)
                name = None if row in named else row
                axes.plot([cell["mean"]], [at], marker, color=colour, markersize=5, label=name)
                named.add(row)
        place += step * len(rows) + apart
        if column != columns[-1]:
            axes.axhline(place - (step + apart) / 2, color=LIGHT["line"], linewidth=0.8)
    axes.set_yticks(middles, columns)
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
    axes.set_ylim(place - apart, -step)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(label)
    if named:
        axes.figure.legend(loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1.2)


def dots_size(rows: Sequence[str], columns: Sequence[str]) -> dict[str, float]:
    """Size in inches of a chart of such dots."""
    return {"width": 5.4, "height": 1.1 + 0.145 * len(columns) * (len(rows) + 1.4)}


def _column(records: Sequence[Record], key: str) -> Curve:
    chosen = [record for record in records if key in record]
    return [float(record["step"]) for record in chosen], [float(record[key]) for record in chosen]


def _mean_curve(runs: Sequence[Sequence[Record]], key: str) -> Curve:
    """Mean over seeds at the steps all have, smoothed by a running mean of what came before."""
    by_step: dict[float, list[float]] = {}
    for records in runs:
        for step, value in zip(*_column(records, key), strict=True):
            by_step.setdefault(step, []).append(value)
    steps = sorted(step for step, values in by_step.items() if len(values) == len(runs))
    means = [sum(by_step[step]) / len(runs) for step in steps]
    windows = [means[max(0, number + 1 - SMOOTHED) : number + 1] for number in range(len(means))]
    return steps, [sum(window) / len(window) for window in windows]
