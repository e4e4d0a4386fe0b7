"""The sections on feature adversaries and their representations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perturbsets.report import representation_tables as tables
from perturbsets.report.drawing import LIGHT, Chart, draw_chart, percent_axis, plot_detection, plot_means, series
from perturbsets.report.findings import with_interval
from perturbsets.report.pictures import Grid, Row
from perturbsets.report.section import Section, read_json, read_tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Content = Mapping[str, Any]
BINS = 30
CUT = 0.01  # share of values at each end of a series that may lie beyond the axis: densities have long tails
MEASURES = {
    "drop": (
        "Log-likelihood on the guide's tangent",
        "log-likelihood less the guide's",
        "Probabilistic PCA of fifteen natural neighbours, with its mean at the guide. Further left is less likely.",
    ),
    "consistency": (
        "Angular consistency with the guide",
        "mean cosine of directions to its neighbours",
        "Whether the directions to natural neighbours of the guide are the same from a point as from the guide; at "
        "most 1.",
    ),
}
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
            radii, entries = [255 * point["radius"] for point in points], [point["ratio"] for point in points]
            plot_means(axes, radii, entries, colour, layer, marker=marker)
        axes.set_xlim(left=0)
        percent_axis(axes)
        axes.set(xlabel="largest change of a pixel, in 255ths", ylabel="remaining distance to the guide")
        axes.legend()

    ratios = "; ".join(
        f"{layer}: " + ", ".join(f"{point['ratio']['mean']:.0%} at {255 * point['radius']:.3g}" for point in points)
        for layer, points in by_radius.items()
    )
    return draw_chart(
        "feature-radius",
        draw,
        title="Distance to the guide over the radius",
        alt=f"Mean distance between adversary and guide, as a share of that between source and guide: {ratios}.",
        caption="Distance between the representations of adversary and guide, as a share of that between source and "
        "guide; means over pairs with 95 % intervals.",
    )


def spread_chart(name: str, layer: str, arrays: Mapping[str, Tensor]) -> Chart:
    """Histograms of a measure of naturalness at adversaries, near neighbours and far ones."""
    title, label, caption = MEASURES[name]
    points = {key: arrays[f"{layer}/{name}/{key}"].flatten().double() for key in POINTS}
    low = min(float(array.quantile(CUT)) for array in points.values())
    high = max(float(array.quantile(1 - CUT)) for array in points.values())

    def draw(axes: Axes) -> None:
        for key, array in points.items():
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
        axes.set(xlabel=label, ylabel="share of points")
        axes.legend()

    medians = "; ".join(f"{POINTS[key][0]} {float(array.median()):.3g}" for key, array in points.items())
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
        axes.set(xlabel="dimension of the tangent", ylabel="held-out log-likelihood")

    return draw_chart(
        "feature-dimension",
        draw,
        title=f"Dimension of the tangent, {layer}",
        alt=f"Log-likelihood of held-out neighbours over the dimension; the highest is at {chosen}.",
        caption=f"Log-likelihood of each natural neighbour under a model of the others, averaged over guides; "
        f"{chosen} is chosen.",
    )


def detection_chart(curves: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Share of adversaries detected over the share of natural images flagged."""
    words = {"drop": "log-likelihood", "consistency": "angular consistency"}
    lines = {words[name]: (curve, series(number + 1)[0], "-") for number, (name, curve) in enumerate(curves.items())}
    areas = "; ".join(f"{name} {with_interval(curve['area'], '{:.3f}'.format)}" for name, (curve, *_) in lines.items())
    return draw_chart(
        "feature-detection",
        lambda axes: plot_detection(axes, lines, detected="flagged"),
        title="Detection of adversaries",
        alt=f"Receiver operating characteristics; areas under them: {areas}.",
        caption="The score of each image comes from natural images near its own representation, without its guide. "
        "Natural images are other test images, misclassified ones included; adversaries start from correctly "
        f"classified images. Areas with 95 % intervals: {areas}; one half is chance.",
    )


def representation_sections(run: Path) -> list[Section]:
    """Feature adversaries, the naturalness of their representations, and comparisons."""
    folder, title = run / "representations", "Feature adversaries"
    content, file = read_json(folder / "representations.json"), folder / "arrays.safetensors"
    if content is None or not file.is_file():
        return [Section("features", title, needs="representations")]
    arrays, last = read_tensors(file), content["layers"][-1]
    return [
        Section(
            "features",
            title,
            grids=[_pictures(content, arrays)],
            charts=[radius_chart(content["by_radius"])],
            tables=[tables.distance_table(content), tables.label_table(content)],
        ),
        Section(
            "natural",
            "Naturalness of their representations",
            charts=[
                *(spread_chart(name, last, arrays) for name in MEASURES),
                dimension_chart(last, content["by_layer"][last]["held_out"], content["by_layer"][last]["dimension"]),
                detection_chart(content["detection"]),
            ],
            tables=[
                tables.neighbour_table(content),
                tables.tangent_table(content),
                tables.sensitivity_table(content),
                tables.activity_table(content),
            ],
        ),
        Section(
            "comparisons",
            "Comparisons: other adversaries, networks and sets",
            grids=[_in_set(content, arrays, name) for name in content["sets"]],
            tables=[tables.kinds_table(content), *tables.random_tables(content), *tables.elsewhere_tables(content)],
        ),
    ]


def _pictures(content: Content, arrays: Mapping[str, Tensor]) -> Grid:
    """Sources, guides and adversaries, with images reconstructed from their representations."""
    count, classes = len(arrays["shown/source"]), content["classes"]
    change = arrays["shown/adversary"] - arrays["shown/source"]
    magnified = max(1, round(0.5 / content["radius"])) if content["radius"] else 1

    def named(key: str) -> list[str]:
        return [classes[int(number)] for number in arrays[f"shown/{key}-predictions"]]

    return Grid(
        name="features",
        title="Feature adversaries",
        alt=f"{count} pairs in columns: source, guide, the change times {magnified}, the adversary, the activity of "
        "the units for all three, and images reconstructed from their representations.",
        caption="An adversary looks like its source, but its representation is near that of its guide. The changes "
        f"(times {magnified}, around grey) are at most {255 * content['radius']:.3g} of 255 levels. Units are those of "
        f"{content['layers'][-1]}, one square each, or averaged where there is no room. The last rows are images "
        "reconstructed from the representation there alone.",
        rows=(
            Row("source", arrays["shown/source"], named("source")),
            Row("guide", arrays["shown/guide"], named("guide")),
            Row(f"change × {magnified}", 0.5 + magnified * change),
            Row("adversary, predicted class", arrays["shown/adversary"], named("adversary")),
            *(Row(f"units of the {name}", _units(arrays, name)) for name in ("source", "guide", "adversary")),
            Row("from the source’s representation", arrays["shown/source-inverted"]),
            Row("from the guide’s", arrays["shown/guide-inverted"]),
            Row("from the adversary’s", arrays["shown/adversary-inverted"]),
        ),
    )


def _in_set(content: Content, arrays: Mapping[str, Tensor], name: str) -> Grid:
    """Sources, guides, and the members of a set nearest to the guides' representations."""
    count, classes, entry = len(arrays["shown/source"]), content["classes"], content["sets"][name]
    predicted = [classes[int(one)] for one in arrays[f"sets/{name}/predictions"]]
    return Grid(
        name=f"features-{name}",
        title=f"In the set {name}",
        alt=f"{count} pairs in columns: source, guide, and the adversary inside the set {name} with its class.",
        caption=f"The members of the set {name} whose representations at {content['layers'][-1]} are nearest to those "
        f"of the guides: {entry['ratio']['mean']:.1%} of the distance remains, on average over all pairs.",
        rows=(
            Row("source", arrays["shown/source"]),
            Row("guide", arrays["shown/guide"]),
            Row("adversary, predicted class", arrays[f"sets/{name}/images"], predicted),
        ),
    )


def _units(arrays: Mapping[str, Tensor], name: str) -> Tensor:
    """Activity of the layer's units as squares, in the size of the images; white is a pair's most active unit."""
    stacked = torch.stack([arrays[f"shown/{key}-units"] for key in ("source", "guide", "adversary")])
    units = arrays[f"shown/{name}-units"] / stacked.amax((0, 2)).clamp_min(torch.finfo(stacked.dtype).tiny)[:, None]
    side = math.ceil(math.sqrt(units.shape[1]))
    squares = F.pad(units, (0, side**2 - units.shape[1])).view(-1, 1, side, side).clamp(0, 1)
    size = arrays["shown/source"].shape[-2:]
    return F.interpolate(squares, size, mode="nearest" if side <= min(size) else "area")
