"""The sections on multi-label classifiers: the auxiliary classifier, attacks on its labels, and the rule detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from perturbsets.report import label_tables
from perturbsets.report.charts import dots, dots_size
from perturbsets.report.drawing import Chart, draw_chart, plot_detection, series
from perturbsets.report.pictures import Grid, Row
from perturbsets.report.section import Section, read_json, read_tensors

Content = Mapping[str, Any]
WAYS = {"turned_off": ("off", "on"), "turned_on": ("on", "off")}
KINDS = {"plain": ("unaware of the rules", "-"), "adaptive": ("adaptive", "--")}
MAGNIFIED = 5


def flip_chart(labels: Sequence[str], attacked: Mapping[str, Content], way: str) -> Chart:
    """Share of each label's states that each attack flips, in one direction."""
    to, from_ = WAYS[way]
    cells = {
        (attack, label): entry[way]
        for attack, results in attacked.items()
        for label, entry in zip(labels, results["flips"]["labels"], strict=True)
        if entry[way] is not None
    }
    most: dict[str, tuple[float, str]] = {}
    for (attack, label), entry in cells.items():
        most[attack] = max(most.get(attack, (0.0, "")), (entry["mean"], label))
    largest = "; ".join(f"{attack}: {share:.0%} of {label}" for attack, (share, label) in most.items())
    return draw_chart(
        f"labels-{way.replace('_', '-')}",
        lambda axes: dots(axes, list(attacked), labels, cells, f"share flipped {to}"),
        title=f"Labels flipped {to}",
        alt=f"Share of each label's {from_} states flipped {to}, by attack, with intervals. Largest: {largest}.",
        caption=f"Of the images for which the auxiliary classifier predicts a label {from_}, the share in which an "
        f"attack flips it {to}; 95 % intervals. Labels without such images have no dot.",
        **dots_size(list(attacked), labels),
    )


def detector_chart(classifier: str, adversaries: Mapping[str, Content]) -> Chart:
    """Share of misclassified adversarial images that is rejected, over that of natural images."""
    curves = {
        f"{name} {words}": (entry[kind], series(number + 1)[0], line)
        for number, (name, entry) in enumerate(adversaries.items())
        for kind, (words, line) in KINDS.items()
        if "area" in entry[kind]
    }
    areas = "; ".join(f"{label} {curve['area']['mean']:.3f}" for label, (curve, *_) in curves.items())
    return draw_chart(
        f"detector-{classifier}",
        lambda axes: plot_detection(axes, curves, detected="rejected"),
        title=f"Rejected by rules: {classifier}",
        alt=f"Receiver operating characteristics; areas under them: {areas or 'none, no attack succeeded'}.",
        caption="Misclassified adversarial images against natural ones, at every threshold of the score.",
    )


def auxiliary_section(run: Path) -> Section:
    """Scores of the auxiliary classifier on clean images."""
    scores, title = read_json(run / "auxiliary" / "scores.json"), "Auxiliary classifier"
    if scores is None:
        return Section("auxiliary", title, needs="auxiliary")
    return Section("auxiliary", title, tables=[label_tables.score_table(scores), label_tables.label_table(scores)])


def scheme_sections(evaluation: Content | None, robustness: Content | None, costs: Content | None) -> list[Section]:
    """All classifiers compared: robust accuracy, training cost, and differences."""
    if evaluation is None or costs is None:
        return []
    tables = [label_tables.scheme_table(evaluation, robustness, costs)]
    if "differences" in evaluation:
        tables.append(label_tables.compared_table(evaluation, robustness))
    return [Section("schemes", "Training methods and their cost", tables=tables)]


def label_sections(run: Path) -> list[Section]:
    """Attacks on labels, and the detection of attacks on classes by rules."""
    folder, title = run / "labels", "Attacks on labels"
    content, file = read_json(folder / "labels.json"), folder / "arrays.safetensors"
    if content is None or not file.is_file():
        return [Section("labels", title, needs="labels")]
    arrays = read_tensors(file)
    done, searched = (
        {name: entry for part in parts for name, entry in content[part].items() if entry["images"]}
        for parts in (("attacks", "least", "universal"), ("attacks", "universal"))
    )
    names, detector = content["labels"], content["detector"]
    grids = [_pictures(names, arrays, name) for name in done]
    charts = [flip_chart(names, searched, way) for way in WAYS] if searched else []
    tables = label_tables.attack_tables(content, done) if done else []
    attacks = Section("labels", title, grids=grids, charts=charts, tables=tables)
    if detector is None:
        return [attacks]
    charts = [detector_chart(name, entry["adversaries"]) for name, entry in detector["classifiers"].items()]
    tables = label_tables.detector_tables(detector)
    return [attacks, Section("detector", "Detection by rules", charts=charts, tables=tables)]


def _pictures(labels: list[str], arrays: Mapping[str, Tensor], name: str) -> Grid:
    """Images of an attack, with the labels predicted before and after."""
    clean, changed, before, after = (arrays[f"{name}/{key}"] for key in ("clean", "images", "before", "after"))
    change = changed - clean
    return Grid(
        name=f"labels-{name}",
        title=name,
        alt=f"{len(clean)} images in columns: clean with the predicted labels, the change by {name} times {MAGNIFIED}, "
        "and the changed image with the flipped labels.",
        caption=f"Labels predicted for the clean images, and those flipped by {name}: + on, − off. "
        f"The change (times {MAGNIFIED}, around grey) is at most {float(change.abs().max()):.2g} per pixel.",
        rows=(
            Row("clean", clean, [_listed(labels, one) for one in before]),
            Row(f"change × {MAGNIFIED}", 0.5 + MAGNIFIED * change),
            Row(
                "changed, flipped labels",
                changed,
                [_flipped(labels, *both) for both in zip(before, after, strict=True)],
            ),
        ),
    )


def _listed(labels: list[str], states: Tensor) -> str:
    return " ".join(name for name, on in zip(labels, states.tolist(), strict=True) if on) or "none"


def _flipped(labels: list[str], before: Tensor, after: Tensor) -> str:
    pairs = zip(labels, before.tolist(), after.tolist(), strict=True)
    return " ".join(f"{'+' if now else '−'}{name}" for name, was, now in pairs if was != now) or "none"
