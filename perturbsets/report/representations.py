"""The sections on feature adversaries and the representations they have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perturbsets.report.inputs import read_json, read_tensors
from perturbsets.report.pictures import Grid, Group, Row
from perturbsets.report.representation_charts import detection_chart, dimension_chart, radius_chart, spread_chart
from perturbsets.report.representation_tables import (
    activity_table,
    distance_table,
    elsewhere_tables,
    kinds_table,
    label_table,
    neighbour_table,
    random_tables,
    sensitivity_table,
    tangent_table,
)
from perturbsets.report.section import Section

Content = Mapping[str, Any]


def representation_sections(run: Path) -> list[Section]:
    """What feature adversaries are like, how natural they are, and what else has been tried beside them."""
    folder, title = run / "representations", "Feature adversaries"
    found, file = read_json(folder / "representations.json"), folder / "arrays.safetensors"
    if found is None or not file.is_file():
        return [Section("features", title, needs="representations")]
    arrays, last = read_tensors(file), found["layers"][-1]
    return [
        Section(
            "features",
            title,
            grids=[_pictures(found, arrays)],
            charts=[radius_chart(found["by_radius"])],
            tables=[distance_table(found), label_table(found)],
        ),
        Section(
            "natural",
            "How natural are their representations?",
            charts=[
                *(spread_chart(name, last, _spread(arrays, last, name)) for name in ("drop", "consistency")),
                dimension_chart(last, found["by_layer"][last]["held_out"], found["by_layer"][last]["dimension"]),
                detection_chart(found["detection"]),
            ],
            tables=[neighbour_table(found), tangent_table(found), sensitivity_table(found), activity_table(found)],
        ),
        Section(
            "beside",
            "Other adversaries, networks and sets",
            grids=[_in_set(found, arrays, name) for name in found["sets"]],
            tables=[kinds_table(found), *random_tables(found), *elsewhere_tables(found)],
        ),
    ]


def _spread(arrays: Mapping[str, Tensor], layer: str, name: str) -> dict[str, Tensor]:
    return {key: arrays[f"{layer}/{name}/{key}"] for key in ("adversary", "random", "close", "far")}


def _pictures(found: Content, arrays: Mapping[str, Tensor]) -> Grid:
    """Sources, guides and adversaries, with the images that are made from their representations."""
    count, classes = len(arrays["shown/source"]), found["classes"]
    change = arrays["shown/adversary"] - arrays["shown/source"]
    magnified = max(1, round(0.5 / found["radius"])) if found["radius"] else 1

    def named(key: str) -> list[str]:
        return [classes[int(number)] for number in arrays[f"shown/{key}-predictions"]]

    return Grid(
        name="features",
        title="Feature adversaries",
        alt=f"{count} pairs in columns: source, guide, the change times {magnified}, the adversary, the units "
        "active in all three, and images made from their representations.",
        caption="An adversary looks like its source; the network sees its guide. The changes, times "
        f"{magnified} around grey, are at most {255 * found['radius']:.3g} of 255 levels. Units are those of "
        f"{found['layers'][-1]}, a square each where there is room, else means of some. The last rows show what "
        "is left of an image in its representation there: an image made from that representation alone.",
        rows=(
            Row("source", arrays["shown/source"], named("source")),
            Row("guide", arrays["shown/guide"], named("guide")),
            Row(f"change × {magnified}", 0.5 + magnified * change),
            Row("adversary, as predicted", arrays["shown/adversary"], named("adversary")),
            *(Row(f"units of the {name}", _units(arrays, name)) for name in ("source", "guide", "adversary")),
            Row("from the source’s representation", arrays["shown/source-inverted"]),
            Row("from the guide’s", arrays["shown/guide-inverted"]),
            Row("from the adversary’s", arrays["shown/adversary-inverted"]),
        ),
        groups=(Group("", count),),
    )


def _in_set(found: Content, arrays: Mapping[str, Tensor], name: str) -> Grid:
    """Sources, guides, and the member of a set that comes nearest to the guide's representation."""
    count, classes, entry = len(arrays["shown/source"]), found["classes"], found["sets"][name]
    predictions = arrays[f"sets/{name}/predictions"]
    return Grid(
        name=f"features-{name}",
        title=f"In the set {name}",
        alt=f"{count} pairs in columns: source, guide, and the adversary inside the set {name}, as predicted.",
        caption=f"The members of the set {name} whose representations at {found['layers'][-1]} come nearest to those "
        f"of the guides: {entry['ratio']['mean']:.1%} of the distance is left, on average of all pairs.",
        rows=(
            Row("source", arrays["shown/source"]),
            Row("guide", arrays["shown/guide"]),
            Row("adversary, as predicted", arrays[f"sets/{name}/images"], [classes[int(one)] for one in predictions]),
        ),
        groups=(Group("", count),),
    )


def _units(arrays: Mapping[str, Tensor], name: str) -> Tensor:
    """Activity of the layer's units as squares of pixels, in the size of the images, white at a pair's most active."""
    every = torch.stack([arrays[f"shown/{key}-units"] for key in ("source", "guide", "adversary")])
    units = arrays[f"shown/{name}-units"] / every.amax((0, 2)).clamp_min(torch.finfo(every.dtype).tiny)[:, None]
    side = math.ceil(math.sqrt(units.shape[1]))
    squares = F.pad(units, (0, side**2 - units.shape[1])).view(-1, 1, side, side).clamp(0, 1)
    size = arrays["shown/source"].shape[-2:]
    return F.interpolate(squares, size, mode="nearest" if side <= min(size) else "area")
