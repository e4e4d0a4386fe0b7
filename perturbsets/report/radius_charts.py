"""Charts over radii and errors: the necessary subset property, certificates, and proven bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from perturbsets.criteria.theorems.tail import paper_radius, radius_needed
from perturbsets.report.drawing import LIGHT, Chart, annotate, draw_chart, percent_axis, plot_means, series
from perturbsets.share_bounds import share_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASSES = {0.5: "-", 0.05: "--"}
POINTS = 120
SMALLEST = 1e-6  # share below which a logarithmic axis ends


def necessary_chart(curve: Sequence[Mapping[str, Any]], radius: float) -> Chart:
    """Error of the nearest member for real and for mismatched changes, over the radius of the ball."""
    radii = [entry["radius"] for entry in curve]
    lines = {"real changes": ("search", "accent"), "changes of other images": ("mismatched_search", "warm")}

    def draw(axes: Axes) -> None:
        for label, (name, colour) in lines.items():
            entries = [entry[name] for entry in curve]
            plot_means(axes, radii, entries, LIGHT[colour], label, key="share", marker="o", least=SMALLEST)
        axes.axvline(radius, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        axes.set_yscale("log")
        axes.set(
            xlim=(0, None), xlabel="radius, in prior standard deviations", ylabel="error, as a share of the change"
        )
        axes.legend()

    values = "; ".join(
        f"{entry['radius']:.3g}: {entry['search']['share']:.2g} and {entry['mismatched_search']['share']:.2g}"
        for entry in curve
    )
    return draw_chart(
        "necessary-curve",
        draw,
        title="Error of the nearest member over the radius",
        alt=f"Error of the nearest member as a share of the squared change, for real and mismatched changes: {values}.",
        caption="A good set contains real changes at a small radius, and those of other images at none. Bands are 95 % "
        "intervals over sources; the dotted line is the set's own radius.",
    )


def coverage_chart(errors: Tensor, certificate: Mapping[str, Any]) -> Chart:
    """Share of future pairs within an error: observed, and certified."""
    count = len(errors)
    ordered = errors.double().sort().values
    places = torch.arange(1, count + 1)
    bounds = share_at_least(places, count, certificate["alpha"])
    finite = ordered.isfinite()
    across = 100 * ordered if certificate["relative"] else ordered
    unit = "% of the pair's own squared change" if certificate["relative"] else "mean squared error per pixel"

    def draw(axes: Axes) -> None:
        values = across[finite].clamp_min(1e-9).numpy()
        axes.step(values, (places[finite] / count).numpy(), where="post", color=LIGHT["muted"], label="observed")
        axes.step(values, bounds[finite].numpy(), where="post", color=LIGHT["accent"], label="certified")
        if certificate["tolerance"]:
            limit = certificate["tolerance"] * (100 if certificate["relative"] else 1)
            axes.plot([limit], [certificate["share"]], "o", color=LIGHT["warm"], label="the certificate")
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        percent_axis(axes)
        axes.set(xlabel=f"error of the nearest member: {unit}", ylabel="share of pairs within")
        axes.legend(loc="lower right")

    return draw_chart(
        "coverage",
        draw,
        title="Coverage of future pairs",
        alt=f"Share of pairs within an error, observed on {count} sources and certified. {certificate['sentence']}",
        caption=f"Each point of the certified curve holds with confidence {1 - certificate['alpha']:.0%} by itself, "
        f"not all together. {count} held-out sources, one random pair each.",
    )


def certified_chart(smoothing: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Certified accuracy over the radius, one curve per smoothed model; ``None`` where there are none."""
    curves = {name: entry["curve"] for name, entry in smoothing.items() if entry.get("curve") and "radius" not in entry}
    if not curves:
        return None

    def draw(axes: Axes) -> None:
        for number, (name, points) in enumerate(curves.items()):
            plot_means(axes, [point["radius"] for point in points], points, series(number)[0], name)
        axes.set_xlim(left=0)
        percent_axis(axes)
        axes.set(xlabel="certified radius", ylabel="certified accuracy")
        axes.legend()

    starts = "; ".join(
        f"{name} {points[0]['mean']:.1%} at radius 0, none beyond {points[-1]['radius']:.3g}"
        for name, points in curves.items()
    )
    return draw_chart(
        "certified-accuracy",
        draw,
        title="Certified accuracy",
        alt=f"Share of images whose true class is certified, over the radius: {starts}.",
        caption="Share of held-out images whose true class wins the vote at every offset within the radius; "
        "abstentions count as wrong. Bands are 95 % intervals over independent images.",
    )


def theorem_chart(latent: int = 16, kl: float = 20.0, radius: float | None = None) -> Chart:
    """Radius that the lemma and the paper's form need over the divergence, for half and for 5 % of the mass outside.

    Args:
        latent: Number of latent coordinates d.
        kl: Divergence to mark, in nats; the axis ends at twice that.
        radius: Radius of a set to mark, in prior standard deviations.
    """
    divergences = 2 * kl * torch.linspace(0, 1, POINTS, dtype=torch.float64).square()  # dense where curves are steep
    forms = {"paper's form": (paper_radius, "warm"), "lemma": (radius_needed, "accent")}

    def draw(axes: Axes) -> None:
        for name, (needed, colour) in forms.items():
            for alpha, style in MASSES.items():
                radii, label = needed(divergences, alpha, latent).numpy(), f"{name}, {alpha:.0%} outside"
                axes.plot(divergences.numpy(), radii, style, color=LIGHT[colour], label=label)
            at = float(needed(kl, 0.5, latent))
            axes.plot([kl], [at], "o", color=LIGHT[colour], markersize=5)
            annotate(axes, f"{at:.1f}", (kl, at), (-5, 3), colour)
        axes.axvline(kl, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        if radius is not None:
            axes.axhline(radius, color=LIGHT["ink"], linewidth=1)
            annotate(axes, f"radius {radius:.2f}", (1.0, radius), (0, 3), "ink", xycoords=("axes fraction", "data"))
        axes.set_xlim(0, 2 * kl)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="divergence K from the prior, in nats", ylabel="radius ε needed")
        axes.legend(loc="upper left")

    half, little = (
        ", ".join(f"{name} {float(needed(kl, alpha, latent)):.1f}" for name, (needed, _) in forms.items())
        for alpha in MASSES
    )
    return draw_chart(
        "theorems",
        draw,
        title="Radius that the bounds need",
        alt=f"Radius over the divergence for {latent} latents. At {kl:.3g} nats, half of the mass outside: {half}; "
        f"5 % outside: {little}.",
        caption="The error is at most D / (1 − α), with α the mass of the recognition distribution outside of the "
        "ball. Both forms use the divergence alone.",
        height=3.2,
    )
