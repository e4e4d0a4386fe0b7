"""Charts of multi-label classifiers: which labels attacks turn, and what rules detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perturbsets.report.charts import dots, dots_height
from perturbsets.report.drawing import Chart, draw_chart
from perturbsets.report.palette import LIGHT, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        caption=f"Of the images in which the helper saw a label {from_}, the share in which an attack turned it {to}; "
        "95 % intervals. Labels without such images have no dot.",
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
