"""Tables of feature adversaries: distances, labels, neighbours, tangents, and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perturbsets.report.findings import percent, with_interval
from perturbsets.report.section import Table

Content = Mapping[str, Any]
NETWORKS = {"random": "A network with random weights", "orthonormal": "A network with orthonormal random weights"}


def distance_table(content: Content) -> Table:
    """Distances of adversaries to their guides and sources."""
    return Table(
        "Distances",
        (
            "layer",
            "to the guide / source to guide",
            "to the guide / nearest in its class",
            "to the source / spread of its class",
        ),
        [
            (layer, *(_interval(entry[name]) for name in ("ratio", "guide_ratio", "source_ratio")))
            for layer, entry in content["by_layer"].items()
        ],
        f"Means over {content['pairs']} pairs with 95 % intervals, changes of at most {255 * content['radius']:.3g} of "
        "255 levels. Distance between adversary and guide, over that between source and guide, and over the mean "
        "distance of a point to its nearest neighbour in the guide’s class (1: like natural neighbours); distance "
        "between adversary and source over the mean distance of two points of the source’s class.",
    )


def label_table(content: Content) -> Table:
    """Predicted labels of adversaries."""
    return Table(
        "Predicted labels",
        ("layer", "the guide’s", "the source’s", "another"),
        [
            (layer, *(_share(entry["labels"][name]) for name in ("takes_guide", "keeps_source", "other")))
            for layer, entry in content["by_layer"].items()
        ],
        "Shares of the pairs with exact 95 % intervals.",
    )


def neighbour_table(content: Content) -> Table:
    """Whether adversaries have the neighbours of their guides."""
    first, *others = content["guides"]
    rows = {
        **content["by_layer"],
        **{f"{content['layers'][-1]}, {name} guides": content["guides"][name] for name in others},
    }
    return Table(
        "Neighbours",
        (
            "layer",
            "the guide’s three nearest",
            "at least two of them",
            "change of rank: median",
            "5 % to 95 % of pairs",
        ),
        [
            (
                name,
                _share(entry["neighbours"]["three"]),
                _share(entry["neighbours"]["two"]),
                f"{entry['rank_change']['median']:+.1f}",
                f"{entry['rank_change']['q05']:+.1f} to {entry['rank_change']['q95']:+.1f}",
            )
            for name, entry in rows.items()
        ],
        "Share of adversaries whose three nearest natural points are those of the guide; change of rank: by how many "
        "percentiles of the guide’s class the distance to the three nearest neighbours is larger than the guide’s. "
        f"Natural points are {content['reference']:,} training images; guides are {first} images unless another split "
        "is named.",
    )


def tangent_table(content: Content) -> Table:
    """Whether adversaries lie where natural neighbours do."""
    return Table(
        "Tangent and angles",
        (
            "layer",
            "dimension",
            *(f"{measure}: {words}" for measure in ("ΔL", "Ω") for words in ("adversary", "random", "near", "far")),
        ),
        [
            (
                layer,
                str(entry["dimension"]),
                *(_nats(entry["drop"][kind]) for kind in ("adversary", "random", "close", "far")),
                *(f"{entry['consistency'][kind]['median']:.3f}" for kind in ("adversary", "random", "close", "far")),
            )
            for layer, entry in content["by_layer"].items()
        ],
        "Medians. ΔL: log-likelihood under probabilistic PCA of 15 of the guide’s 20 nearest neighbours, less that of "
        "the guide; Ω: mean cosine between the directions to these from a point and from the guide. Random: a point "
        "as far from the guide as the adversary, in a random direction; near: the other 5 natural neighbours; far: the "
        "41st to 50th.",
    )


def sensitivity_table(content: Content) -> Table:
    """Sensitivity to the dimension of the tangent."""
    kinds = {"adversary": "adversary", "random": "random", "close": "near", "far": "far"}
    return Table(
        f"Other dimensions, {content['layers'][-1]}",
        ("dimension", *(f"ΔL: {words}" for words in kinds.values())),
        [(number, *(_nats(entry[kind]) for kind in kinds)) for number, entry in content["sensitivity"].items()],
        "Medians, as above.",
    )


def activity_table(content: Content) -> Table:
    """Active units of adversaries."""
    rows = {**content["by_layer"], "label-opt, " + content["layers"][-1]: content["kinds"]["label-opt"]}
    return Table(
        "Active units",
        ("layer", "change of their share", "overlap with the source", "overlap with the guide"),
        [
            (
                name,
                f"{100 * entry['sparsity_change']['mean']:+.2f} points",
                _interval(entry["source_overlap"]),
                _interval(entry["guide_overlap"]) if "ratio" in entry else "no guide",
            )
            for name, entry in rows.items()
        ],
        "Share of units above zero, adversary less source; overlap: units active in both over units active in either.",
    )


def kinds_table(content: Content) -> Table:
    """Kinds of adversaries, with and without a guide."""
    head = (
        "adversary",
        "to the guide / source to guide",
        "target label",
        "source’s label",
        "change of rank: median",
        "ΔL: median",
    )
    rows = [
        (
            name,
            _interval(entry["ratio"]) if "ratio" in entry else "no guide",
            _share(entry["labels"]["takes_guide"]),
            _share(entry["labels"]["keeps_source"]),
            f"{entry['rank_change']['median']:+.1f}",
            _nats(entry["drop"]["adversary"]),
        )
        for name, entry in content["kinds"].items()
    ]
    note = (
        "Feature-linear searches on the linearised network, the fgrad ones take one signed step, and label-opt finds "
        "the target label at the least squared change. Adversaries of labels have no guide: they are compared with "
        "their nearest natural neighbour in the predicted class, and so are the last two rows. Feature-linear is "
        f"solved to a duality gap of at most {percent(content['kinds']['feature-linear']['gap']['largest'])} of the "
        "remaining squared distance."
    )
    return Table(f"Five adversaries, {content['layers'][-1]}", head, rows, note)


def random_tables(content: Content) -> list[Table]:
    """The main measures on networks with random weights."""
    head = (
        "layer",
        "to the guide / source to guide",
        "the guide’s three nearest",
        "ΔL: adversary",
        "ΔL: far",
        "Ω: adversary",
        "Ω: far",
    )
    note = "The same pairs, layers and measures on a copy of the network with random weights."
    return [
        Table(
            NETWORKS[name],
            head,
            [
                (
                    layer,
                    _interval(entry["ratio"]),
                    _share(entry["neighbours"]["three"]),
                    *(_nats(entry["drop"][kind]) for kind in ("adversary", "far")),
                    *(f"{entry['consistency'][kind]['median']:.3f}" for kind in ("adversary", "far")),
                )
                for layer, entry in layers.items()
            ],
            note,
        )
        for name, layers in content["random"].items()
    ]


def elsewhere_tables(content: Content) -> list[Table]:
    """Distances and predicted labels of adversaries on other networks and in other sets."""
    head = ("", "to the guide / source to guide", "guide’s label", "source’s label")
    titles = {
        "transfer": (
            "Transfer to other networks",
            "The same adversaries: their distance to the guide and their label in another network.",
        ),
        "sets": (
            "In other sets",
            f"Search for the guide’s representation at {content['layers'][-1]} in other perturbation sets.",
        ),
    }
    return [
        Table(
            title,
            head,
            [
                (
                    name,
                    _interval(entry["ratio"]),
                    *(_share(entry["labels"][key]) for key in ("takes_guide", "keeps_source")),
                )
                for name, entry in content[part].items()
            ],
            note,
        )
        for part, (title, note) in titles.items()
        if content[part]
    ]


def _nats(entry: Content) -> str:
    return f"{entry['median']:,.0f}" if abs(entry["median"]) >= 100 else f"{entry['median']:.3g}"


def _share(entry: Content) -> str:
    return with_interval(entry)


def _interval(entry: Content) -> str:
    return with_interval(entry, "{:.3f}".format)
