"""Charts over radii and errors: what a set holds, what is certified of it, and of votes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perturbsets.report.drawing import Chart, band, draw_chart
from perturbsets.report.palette import LIGHT, series
from perturbsets.share_bounds import share_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-6  # share below which a logarithmic axis ends


def necessary_chart(curve: Sequence[Mapping[str, Any]], radius: float) -> Chart:
    """What the nearest member leaves of real and of foreign changes, over the radius of the ball."""
    radii = [entry["radius"] for entry in curve]
    lines = {"real changes": ("search", "accent"), "changes of other images": ("mismatched_search", "warm")}

    def draw(axes: Axes) -> None:
        for label, (name, colour) in lines.items():
            band(axes, radii, [entry[name] for entry in curve], LIGHT[colour], "share_", least=SMALLEST)
            mean = [max(SMALLEST, entry[name]["share"]) for entry in curve]
            axes.plot(radii, mean, "o-", color=LIGHT[colour], markersize=4, label=label)
        axes.axvline(radius, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_xlabel("radius, in prior standard deviations")
        axes.set_ylabel("share of the change left")
        axes.legend()

    told = "; ".join(
        f"{entry['radius']:.3g}: {entry['search']['share']:.2g} and {entry['mismatched_search']['share']:.2g}"
        for entry in curve
    )
    return draw_chart(
        "necessary-curve",
        draw,
        title="What balls of other radii leave",
        alt=f"Share of the squared change that the nearest member leaves, of real and of foreign changes: {told}.",
        caption="A good set reaches real changes at a small radius, and those of other images at none. Bands are 95 % "
        "intervals over sources; the dotted line is the set's own radius.",
    )


def coverage_chart(errors: Tensor, found: Mapping[str, Any]) -> Chart:
    """Share of future pairs within an error: observed, and certified."""
    count = len(errors)
    ordered = errors.double().sort().values
    places = torch.arange(1, count + 1)
    bounds = share_at_least(places, count, found["alpha"])
    finite = ordered.isfinite()
    across = 100 * ordered if found["relative"] else ordered
    unit = "% of the pair's own squared change" if found["relative"] else "mean squared error per pixel"

    def draw(axes: Axes) -> None:
        shown = across[finite].clamp_min(1e-9).numpy()
        axes.step(shown, (places[finite] / count).numpy(), where="post", color=LIGHT["muted"], label="observed")
        axes.step(shown, bounds[finite].numpy(), where="post", color=LIGHT["accent"], label="certified")
        if found["tolerance"]:
            limit = found["tolerance"] * (100 if found["relative"] else 1)
            axes.plot([limit], [found["share"]], "o", color=LIGHT["warm"], label="the certificate")
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel(f"error of the nearest member: {unit}")
        axes.set_ylabel("share of pairs within")
        axes.legend(loc="lower right")

    return draw_chart(
        "coverage",
        draw,
        title="How many future pairs are covered",
        alt=f"Share of pairs within an error, observed on {count} sources and certified. {found['sentence']}",
        caption=f"Each point of the certified curve holds with confidence {1 - found['alpha']:.0%} by itself, not all "
        f"at once. {count} held-out sources, one random pair each.",
    )


def certified_chart(smoothing: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Certified accuracy over the radius, one curve per vote; ``None`` where none has such a curve."""
    curves = {name: found["curve"] for name, found in smoothing.items() if found.get("curve") and "radius" not in found}
    if not curves:
        return None

    def draw(axes: Axes) -> None:
        for number, (name, points) in enumerate(curves.items()):
            radii = [point["radius"] for point in points]
            colour = series(number)[0]
            band(axes, radii, points, colour)
            axes.plot(radii, [point["mean"] for point in points], color=colour, label=name)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("certified radius")
        axes.set_ylabel("certified accuracy")
        axes.legend()

    starts = "; ".join(
        f"{name} {points[0]['mean']:.1%} at radius 0, none beyond {points[-1]['radius']:.3g}"
        for name, points in curves.items()
    )
    return draw_chart(
        "certified-accuracy",
        draw,
        title="Certified accuracy of votes under noise",
        alt=f"Share of images whose true class is certified, over the radius: {starts}.",
        caption="Share of held-out images whose true class wins the vote at every offset within the radius; what "
        "abstains counts as wrong. Bands are 95 % intervals over independent images.",
    )
