"""Charts of feature adversaries: how near they come, and how natural their representations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from perturbsets.report.drawing import Chart, band, draw_chart
from perturbsets.report.findings import with_interval
from perturbsets.report.palette import LIGHT, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 30
CUT = 0.01  # share of values at each end of a series that may lie beyond the axis: densities have long tails
POINTS = {
    "adversary": ("adversaries", "warm"),
    "random": ("random direction", "series4"),
    "close": ("near neighbours", "accent"),
    "far": ("41st to 50th", "muted"),
}


def radius_chart(by_radius: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Distance to the guide over the largest change of a pixel, a line for each layer."""

    def draw(axes: Axes) -> None:
        for number, (layer, points) in enumerate(by_radius.items()):
            colour, marker = series(number)
            radii = [255 * point["radius"] for point in points]
            band(axes, radii, [point["ratio"] for point in points], colour)
            axes.plot(
                radii,
                [point["ratio"]["mean"] for point in points],
                color=colour,
                marker=marker,
                markersize=4,
                label=layer,
            )
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("largest change of a pixel, in 255ths")
        axes.set_ylabel("distance to the guide left")
        axes.legend()

    told = "; ".join(
        f"{layer}: " + ", ".join(f"{point['ratio']['mean']:.0%} at {255 * point['radius']:.3g}" for point in points)
        for layer, points in by_radius.items()
    )
    return draw_chart(
        "feature-radius",
        draw,
        title="How near a larger change comes",
        alt=f"Mean distance between adversary and guide, as a share of that between source and guide: {told}.",
        caption="Distance between the representations of adversary and guide, as a share of that between source and "
        "guide; means over pairs with 95 % intervals.",
    )


def spread_chart(name: str, layer: str, values: Mapping[str, Tensor]) -> Chart:
    """Histograms of a measure of naturalness at adversaries, near neighbours and far ones."""
    title, label, caption = {
        "drop": (
            "Log-likelihood on the guide's tangent",
            "log-likelihood less the guide's",
            "Probabilistic PCA of fifteen natural neighbours, with its mean at the guide. Further left is less likely.",
        ),
        "consistency": (
            "Angular consistency with the guide",
            "mean cosine of directions to its neighbours",
            "Whether natural neighbours of the guide are seen in the same directions from a point as from the guide; "
            "at most 1.",
        ),
    }[name]
    shown = {key: array.flatten().double() for key, array in values.items()}
    low = min(float(array.quantile(CUT)) for array in shown.values())
    high = max(float(array.quantile(1 - CUT)) for array in shown.values())

    def draw(axes: Axes) -> None:
        for key, array in shown.items():
            words, colour = POINTS[key]
            axes.hist(
                array.numpy(),
                bins=BINS,
                range=(low, high if high > low else low + 1),
                weights=[1 / len(array)] * len(array),
                histtype="step",
                linewidth=1.6,
                color=LIGHT[colour],
                label=words,
            )
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel(label)
        axes.set_ylabel("share of points")
        axes.legend()

    medians = "; ".join(f"{POINTS[key][0]} {float(array.median()):.3g}" for key, array in shown.items())
    return draw_chart(
        f"feature-{name}",
        draw,
        title=f"{title}, {layer}",
        alt=f"Histograms of the {label} at {layer}; medians: {medians}.",
        caption=f"{caption} Medians: {medians}.",
    )


def dimension_chart(layer: str, held_out: Sequence[float], chosen: int) -> Chart:
    """Held-out log-likelihood over the dimension of the tangent, from 0."""

    def draw(axes: Axes) -> None:
        axes.plot(range(len(held_out)), held_out, "o-", color=LIGHT["accent"], markersize=4)
        axes.axvline(chosen, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        axes.set_xlabel("dimension of the tangent")
        axes.set_ylabel("held-out log-likelihood")

    return draw_chart(
        "feature-dimension",
        draw,
        title=f"Which dimension the tangent has, {layer}",
        alt=f"Log-likelihood of neighbours left out, over the dimension; the highest is at {chosen}.",
        caption=f"Log-likelihood of each natural neighbour under a model of the others, a mean over guides; "
        f"{chosen} is taken.",
    )


def detection_chart(found: Mapping[str, Mapping[str, Any]]) -> Chart:
    """What share of adversaries is detected, over the share of natural images that are taken for one."""
    words = {"drop": "log-likelihood", "consistency": "angular consistency"}

    def draw(axes: Axes) -> None:
        for number, (name, curve) in enumerate(found.items()):
            colour = series(number + 1)[0]
            area = curve["area"]["mean"]
            axes.plot(
                curve["false_positive"], curve["true_positive"], color=colour, label=f"{words[name]}, area {area:.2f}"
            )
        axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle=":", linewidth=1)
        axes.set_xlabel("natural images flagged")
        axes.set_ylabel("adversaries flagged")
        axes.legend(loc="lower right")

    areas = "; ".join(f"{words[name]} {with_interval(curve['area'], '{:.3f}'.format)}" for name, curve in found.items())
    return draw_chart(
        "feature-detection",
        draw,
        title="Can adversaries be told from natural images?",
        alt=f"Receiver operating characteristics; areas under them: {areas}.",
        caption="Each image is judged by natural images near its own representation, with no word of its guide; "
        "natural images are other test images, misread ones among them, adversaries those of images that were read "
        f"rightly. Areas with 95 % intervals: {areas}; one half is chance.",
    )
