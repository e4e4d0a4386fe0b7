"""Tables of feature adversaries: distances, labels, neighbours, tangents, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perturbsets.report.findings import percent, with_interval
from perturbsets.report.section import Table, cell

Content = Mapping[str, Any]
NETWORKS = {"random": "A network with random weights", "orthonormal": "A network with orthonormal random weights"}
KINDS = {"adversary": "adversary", "random": "random", "close": "near", "far": "far"}
TO_GUIDE = "to the guide / source to guide"


def distance_table(content: Content) -> Table:
    """Distances of adversaries to their guides and sources."""
    return Table(
        "Distances",
        "layer",
        {
            TO_GUIDE: cell(_ratio, "ratio"),
            "to the guide / nearest in its class": cell(_ratio, "guide_ratio"),
            "to the source / spread of its class": cell(_ratio, "source_ratio"),
        },
        content["by_layer"],
        f"Means over {content['pairs']} pairs with 95 % intervals, changes of at most {255 * content['radius']:.3g} of "
        "255 levels. Distance between adversary and guide, over that between source and guide, and over the mean "
        "distance of a point to its nearest neighbour in the guide’s class (1: like natural neighbours); distance "
        "between adversary and source over the mean distance of two points of the source’s class.",
    )


def label_table(content: Content) -> Table:
    """Predicted labels of adversaries."""
    return Table(
        "Predicted labels",
        "layer",
        {
            "the guide’s": cell(with_interval, "labels", "takes_guide"),
            "the source’s": cell(with_interval, "labels", "keeps_source"),
            "another": cell(with_interval, "labels", "other"),
        },
        content["by_layer"],
        "Shares of the pairs with exact 95 % intervals.",
    )


def neighbour_table(content: Content) -> Table:
    """Whether adversaries have the neighbours of their guides."""
    first, *others = content["guides"]
    last, guides = content["layers"][-1], content["guides"]
    return Table(
        "Neighbours",
        "layer",
        {
            "the guide’s three nearest": cell(with_interval, "neighbours", "three"),
            "at least two of them": cell(with_interval, "neighbours", "two"),
            "change of rank: median": lambda entry: f"{entry['rank_change']['median']:+.1f}",
            "5 % to 95 % of pairs": lambda entry: (
                f"{entry['rank_change']['q05']:+.1f} to {entry['rank_change']['q95']:+.1f}"
            ),
        },
        {**content["by_layer"], **{f"{last}, {name} guides": guides[name] for name in others}},
        "Share of adversaries whose three nearest natural points are those of the guide; change of rank: by how many "
        "percentiles of the guide’s class the distance to the three nearest neighbours is larger than the guide’s. "
        f"Natural points are {content['reference']:,} training images; guides are {first} images unless another split "
        "is named.",
    )


def tangent_table(content: Content) -> Table:
    """Whether adversaries lie where natural neighbours do."""
    return Table(
        "Tangent and angles",
        "layer",
        {
            "dimension": cell(str, "dimension"),
            **{f"ΔL: {words}": cell(_median, "drop", kind) for kind, words in KINDS.items()},
            **{f"Ω: {words}": cell(_cosine, "consistency", kind) for kind, words in KINDS.items()},
        },
        content["by_layer"],
        "Medians. ΔL: log-likelihood under probabilistic PCA of 15 of the guide’s 20 nearest neighbours, less that of "
        "the guide; Ω: mean cosine between the directions to these from a point and from the guide. Random: a point "
        "as far from the guide as the adversary, in a random direction; near: the other 5 natural neighbours; far: the "
        "41st to 50th.",
    )


def sensitivity_table(content: Content) -> Table:
    """Sensitivity to the dimension of the tangent."""
    return Table(
        f"Other dimensions, {content['layers'][-1]}",
        "dimension",
        {f"ΔL: {words}": cell(_median, kind) for kind, words in KINDS.items()},
        content["sensitivity"],
        "Medians, as above.",
    )


def activity_table(content: Content) -> Table:
    """Active units of adversaries."""
    return Table(
        "Active units",
        "layer",
        {
            "change of their share": lambda entry: f"{100 * entry['sparsity_change']['mean']:+.2f} points",
            "overlap with the source": cell(_ratio, "source_overlap"),
            "overlap with the guide": lambda entry: _ratio(entry["guide_overlap"]) if "ratio" in entry else "no guide",
        },
        {**content["by_layer"], f"label-opt, {content['layers'][-1]}": content["kinds"]["label-opt"]},
        "Share of units above zero, adversary less source; overlap: units active in both over units active in either.",
    )


def kinds_table(content: Content) -> Table:
    """Kinds of adversaries, with and without a guide."""
    gap = percent(content["kinds"]["feature-linear"]["gap"]["largest"])
    return Table(
        f"Five adversaries, {content['layers'][-1]}",
        "adversary",
        {
            TO_GUIDE: lambda entry: _ratio(entry["ratio"]) if "ratio" in entry else "no guide",
            "target label": cell(with_interval, "labels", "takes_guide"),
            "source’s label": cell(with_interval, "labels", "keeps_source"),
            "change of rank: median": lambda entry: f"{entry['rank_change']['median']:+.1f}",
            "ΔL: median": cell(_median, "drop", "adversary"),
        },
        content["kinds"],
        "Feature-linear searches on the linearised network, the fgrad ones take one signed step, and label-opt finds "
        "the target label at the least squared change. Adversaries of labels have no guide: they are compared with "
        "their nearest natural neighbour in the predicted class, and so are the last two rows. Feature-linear is "
        f"solved to a duality gap of at most {gap} of the remaining squared distance.",
    )


def random_tables(content: Content) -> list[Table]:
    """The main measures on networks with random weights."""
    columns = {
        TO_GUIDE: cell(_ratio, "ratio"),
        "the guide’s three nearest": cell(with_interval, "neighbours", "three"),
        **{f"ΔL: {kind}": cell(_median, "drop", kind) for kind in ("adversary", "far")},
        **{f"Ω: {kind}": cell(_cosine, "consistency", kind) for kind in ("adversary", "far")},
    }
    note = "The same pairs, layers and measures on a copy of the network with random weights."
    return [Table(NETWORKS[name], "layer", columns, layers, note) for name, layers in content["random"].items()]


def elsewhere_tables(content: Content) -> list[Table]:
    """Distances and predicted labels of adversaries on other networks and in other sets."""
    columns = {
        TO_GUIDE: cell(_ratio, "ratio"),
        "guide’s label": cell(with_interval, "labels", "takes_guide"),
        "source’s label": cell(with_interval, "labels", "keeps_source"),
    }
    transfer = "The same adversaries: their distance to the guide and their label in another network."
    sets = f"Search for the guide’s representation at {content['layers'][-1]} in other perturbation sets."
    parts = (("transfer", "Transfer to other networks", transfer), ("sets", "In other sets", sets))
    return [Table(title, "", columns, content[part], note) for part, title, note in parts if content[part]]


def _cosine(entry: Content) -> str:
    return f"{entry['median']:.3f}"


def _median(entry: Content) -> str:
    return f"{entry['median']:,.0f}" if abs(entry["median"]) >= 100 else f"{entry['median']:.3g}"


def _ratio(entry: Content) -> str:
    return with_interval(entry, "{:.3f}".format)
