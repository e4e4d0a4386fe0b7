"""Tables of feature adversaries: distances, labels, neighbours, tangents, and what was tried beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perturbsets.report.findings import percent, with_interval
from perturbsets.report.section import Table

Content = Mapping[str, Any]
NETWORKS = {"random": "A network with random weights", "orthonormal": "A network with orthonormal random weights"}


def distance_table(found: Content) -> Table:
    """How near adversaries come to their guides, and how far they are from their sources."""
    return Table(
        "How near they come",
        (
            "layer",
            "to the guide, of the source’s distance",
            "of the guide’s nearest in class",
            "to the source, of its class’s spread",
        ),
        [
            (layer, *(_interval(entry[name]) for name in ("ratio", "guide_ratio", "source_ratio")))
            for layer, entry in found["by_layer"].items()
        ],
        f"Means over {found['pairs']} pairs with 95 % intervals, changes of at most {255 * found['radius']:.3g} of 255 "
        "levels. Distance between adversary and guide over that between source and guide; over the mean distance of a "
        "point to its nearest neighbour in the guide’s class, where 1 is as near as natural neighbours are; and "
        "between adversary and source over the mean distance of two points of the source’s class.",
    )


def label_table(found: Content) -> Table:
    """Whose labels they get."""
    return Table(
        "What the network says of them",
        ("layer", "takes the guide’s label", "keeps the source’s", "another"),
        [
            (layer, *(_share(entry["labels"][name]) for name in ("takes_guide", "keeps_source", "other")))
            for layer, entry in found["by_layer"].items()
        ],
        "Shares of the pairs with exact 95 % intervals.",
    )


def neighbour_table(found: Content) -> Table:
    """Whether they have the neighbours of their guides."""
    first, *others = found["guides"]
    rows = {**found["by_layer"], **{f"{found['layers'][-1]}, {name} guides": found["guides"][name] for name in others}}
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
        "Share of adversaries whose three nearest natural points are those of the guide; and by how many percentiles "
        "of the guide’s class an adversary is more of an outlier than its guide, by the distance to three nearest "
        f"neighbours. {found['reference']:,} training images are the natural points; guides are {first} images unless "
        "another split is named.",
    )


def tangent_table(found: Content) -> Table:
    """Whether they lie where natural neighbours do."""
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
            for layer, entry in found["by_layer"].items()
        ],
        "Medians. ΔL: log-likelihood under probabilistic PCA of 15 of the guide’s 20 nearest neighbours, less that of "
        "the guide; Ω: mean cosine between the directions to these from a point and from the guide. Random: a point "
        "as far from the guide as the adversary, in a direction drawn at random; near: the other 5 natural neighbours; "
        "far: the 41st to 50th.",
    )


def sensitivity_table(found: Content) -> Table:
    """How much the dimension of the tangent matters."""
    kinds = {"adversary": "adversary", "random": "random", "close": "near", "far": "far"}
    return Table(
        f"Other dimensions, {found['layers'][-1]}",
        ("dimension", *(f"ΔL: {words}" for words in kinds.values())),
        [(number, *(_nats(entry[kind]) for kind in kinds)) for number, entry in found["sensitivity"].items()],
        "Medians, as above.",
    )


def activity_table(found: Content) -> Table:
    """Which units they make active."""
    rows = {**found["by_layer"], "label-opt, " + found["layers"][-1]: found["kinds"]["label-opt"]}
    return Table(
        "Active units",
        ("layer", "change of their share", "in common with the source", "in common with the guide"),
        [
            (
                name,
                f"{100 * entry['sparsity_change']['mean']:+.2f} points",
                _interval(entry["source_overlap"]),
                _interval(entry["guide_overlap"]) if "ratio" in entry else "no guide",
            )
            for name, entry in rows.items()
        ],
        "Share of units above zero, adversary less source; and units active in both over units active in either.",
    )


def kinds_table(found: Content) -> Table:
    """The adversary's relatives, with a guide and without."""
    head = (
        "adversary",
        "to the guide, of the source’s distance",
        "takes the wanted label",
        "keeps the source’s",
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
        for name, entry in found["kinds"].items()
    ]
    note = (
        "Feature-linear searches on the linearised network, the fgrad ones take one signed step, and label-opt seeks "
        "the wanted label at the least squared change. Adversaries of labels have no guide: they are measured against "
        "their nearest natural neighbour in the class that they are taken for, and so are the two in the last rows. "
        "Feature-linear is solved to a duality gap of at most "
        f"{percent(found['kinds']['feature-linear']['gap']['largest'])} of what it leaves of the squared distance."
    )
    return Table(f"Five adversaries, {found['layers'][-1]}", head, rows, note)


def random_tables(found: Content) -> list[Table]:
    """The measures that tell most, on networks with fresh weights."""
    head = (
        "layer",
        "to the guide, of the source’s distance",
        "the guide’s three nearest",
        "ΔL: adversary",
        "ΔL: far",
        "Ω: adversary",
        "Ω: far",
    )
    note = "The same pairs, layers and measures on a copy of the network with fresh weights."
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
                for layer, entry in looked.items()
            ],
            note,
        )
        for name, looked in found["random"].items()
    ]


def elsewhere_tables(found: Content) -> list[Table]:
    """Whose labels adversaries get, and how near to their guides they are, on other networks and in other sets."""
    head = ("", "to the guide, of the source’s distance", "takes the guide’s label", "keeps the source’s")
    titles = {
        "transfer": (
            "Carried over to other networks",
            "What another network says of the same adversaries, and how near to the guide they are in it.",
        ),
        "sets": (
            "In other sets",
            f"The same representation, the guide’s at {found['layers'][-1]}, looked for in other perturbation sets.",
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
                for name, entry in found[part].items()
            ],
            note,
        )
        for part, (title, note) in titles.items()
        if found[part]
    ]


def _nats(entry: Content) -> str:
    return f"{entry['median']:,.0f}" if abs(entry["median"]) >= 100 else f"{entry['median']:.3g}"


def _share(entry: Content) -> str:
    return with_interval(entry)


def _interval(entry: Content) -> str:
    return with_interval(entry, "{:.3f}".format)
