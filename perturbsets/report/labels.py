"""The sections on multi-label classifiers: the auxiliary classifier, attacks on its labels, and what rules detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perturbsets.report.charts import dots, dots_height
from perturbsets.report.drawing import LIGHT, Chart, draw_chart, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes


from pathlib import Path

from torch import Tensor

from perturbsets.report.label_tables import (
    attack_tables,
    compared_table,
    detector_tables,
    label_table,
    scheme_table,
    score_table,
)
from perturbsets.report.pictures import Grid, Group, Row
from perturbsets.report.section import Section, read_json, read_tensors

# Charts of multi-label classifiers: which labels attacks turn, and what rules detect.


Content = Mapping[str, Any]
WAYS = {"turned_off": ("off", "on"), "turned_on": ("on", "off")}
KINDS = {"plain": ("as it is", "-"), "adaptive": ("knowing the rules", "--")}


def flip_chart(labels: Sequence[str], attacked: Mapping[str, Content], way: str) -> Chart:
    """Share of each label's states that each attack turns one way."""
    to, from_ = WAYS[way]
    cells = {
        (attack, label): entry[way]
        for attack, found in attacked.items()
        for label, entry in zip(labels, found["flips"]["labels"], strict=True)
        if entry[way] is not None
    }
    most = {
        attack: max((cells[one, label]["mean"], label) for one, label in cells if one == attack)
        for attack in attacked
        if any(one == attack for one, _ in cells)
    }
    told = "; ".join(f"{attack}: {share:.0%} of {label}" for attack, (share, label) in most.items())
    return draw_chart(
        f"labels-{way.replace('_', '-')}",
        lambda axes: dots(axes, list(attacked), labels, cells, f"share turned {to}"),
        title=f"Labels turned {to}",
        alt=f"Share of each label's {from_} states turned {to}, by attack, with intervals. Most: {told}.",
        caption=f"Of the images in which the auxiliary classifier saw a label {from_}, the share in which "
        f"an attack turned it {to}; 95 % intervals. Labels without such images have no dot.",
        width=5.4,
        height=dots_height(list(attacked), labels),
    )


def detector_chart(classifier: str, adversaries: Mapping[str, Content]) -> Chart:
    """What share of the images that fool a classifier is rejected, over that of natural images."""
    curves = {
        (name, kind): entry[kind] for name, entry in adversaries.items() for kind in KINDS if "area" in entry[kind]
    }
    names = list(adversaries)

    def draw(axes: Axes) -> None:
        for (name, kind), curve in curves.items():
            words, line = KINDS[kind]
            axes.plot(
                curve["false_positive"],
                curve["true_positive"],
                line,
                color=series(names.index(name) + 1)[0],
                label=f"{name} {words}, area {curve['area']['mean']:.2f}",
            )
        axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linestyle=":", linewidth=1)
        axes.set_xlabel("natural images rejected")
        axes.set_ylabel("fooling images rejected")
        if curves:
            axes.legend(loc="lower right")

    areas = "; ".join(f"{name} {KINDS[kind][0]} {curve['area']['mean']:.3f}" for (name, kind), curve in curves.items())
    return draw_chart(
        f"detector-{classifier}",
        draw,
        title=f"Rejected by rules: {classifier}",
        alt=f"Receiver operating characteristics; areas under them: {areas or 'none, nothing fooled it'}.",
        caption="Images that fool the classifier against natural ones, at every threshold of the score.",
    )


MAGNIFIED = 5


def helper_section(run: Path) -> Section:
    """How well the auxiliary classifier knows the labels of clean images."""
    scores, title = read_json(run / "auxiliary" / "scores.json"), "The auxiliary"
    if scores is None:
        return Section("auxiliary", title, needs="auxiliary")
    return Section("auxiliary", title, tables=[score_table(scores), label_table(scores)])


def scheme_sections(evaluation: Content | None, robustness: Content | None, costs: Content | None) -> list[Section]:
    """All classifiers side by side: what they withstand, what their training costs, and how they differ."""
    if evaluation is None or costs is None:
        return []
    tables = [scheme_table(evaluation, robustness, costs)]
    if "differences" in evaluation:
        tables.append(compared_table(evaluation, robustness))
    return [Section("schemes", "Ways to train, and what they cost", tables=tables)]


def label_sections(run: Path) -> list[Section]:
    """What attacks do to the labels, and what rules detect of attacks on classes."""
    folder, title = run / "labels", "Attacks on labels"
    found, file = read_json(folder / "labels.json"), folder / "arrays.safetensors"
    if found is None or not file.is_file():
        return [Section("labels", title, needs="labels")]
    arrays = read_tensors(file)
    done, searched = (
        {name: entry for part in parts for name, entry in found[part].items() if entry["images"]}
        for parts in (("attacks", "least", "universal"), ("attacks", "universal"))
    )
    sections = [
        Section(
            "labels",
            title,
            grids=[_pictures(found["labels"], arrays, name) for name in done],
            charts=[flip_chart(found["labels"], searched, way) for way in WAYS] if searched else [],
            tables=attack_tables(found, done) if done else [],
        )
    ]
    if found["detector"] is not None:
        sections.append(
            Section(
                "detector",
                "What rules detect",
                charts=[
                    detector_chart(name, entry["adversaries"])
                    for name, entry in found["detector"]["classifiers"].items()
                ],
                tables=detector_tables(found["detector"]),
            )
        )
    return sections


def _pictures(labels: list[str], arrays: Mapping[str, Tensor], name: str) -> Grid:
    """What an attack makes of some images, with the labels seen before and after."""
    clean, changed, before, after = (arrays[f"{name}/{key}"] for key in ("clean", "images", "before", "after"))
    change = changed - clean
    return Grid(
        name=f"labels-{name}",
        title=name,
        alt=f"{len(clean)} images in columns: clean with the labels seen, the change by {name} times {MAGNIFIED}, and "
        "the changed image with the labels that were turned.",
        caption=f"Labels predicted for the clean images, and those flipped by {name}: + on, − off. "
        f"The change, times {MAGNIFIED} around grey, moves a pixel by {float(change.abs().max()):.2g} at most.",
        rows=(
            Row("clean", clean, [_listed(labels, one) for one in before]),
            Row(f"change × {MAGNIFIED}", 0.5 + MAGNIFIED * change),
            Row(
                "changed, labels turned", changed, [_turned(labels, *both) for both in zip(before, after, strict=True)]
            ),
        ),
        groups=(Group("", len(clean)),),
    )


def _listed(labels: list[str], states: Tensor) -> str:
    return " ".join(name for name, on in zip(labels, states.tolist(), strict=True) if on) or "none"


def _turned(labels: list[str], before: Tensor, after: Tensor) -> str:
    pairs = zip(labels, before.tolist(), after.tolist(), strict=True)
    return " ".join(f"{'+' if now else '−'}{name}" for name, was, now in pairs if was != now) or "none"
