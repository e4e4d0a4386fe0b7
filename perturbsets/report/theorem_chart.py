"""The chart of two proofs: how large a ball each of them needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from perturbsets.criteria.theorems.gaussian_tail import paper_radius
from perturbsets.criteria.theorems.tail import radius_needed
from perturbsets.report.drawing import Chart, draw_chart
from perturbsets.report.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASSES = {0.5: "-", 0.05: "--"}
POINTS = 120


def theorem_chart(latent: int = 16, kl: float = 20.0, radius: float | None = None) -> Chart:
    """Radius that the lemma and the paper's form need over the divergence, for half and for 5 % of the mass outside.

    Args:
        latent: Number of latent coordinates d.
        kl: Divergence to be marked, in nats; the axis ends at twice of it.
        radius: Radius of a set to be marked, in prior standard deviations.
    """
    divergences = 2 * kl * torch.linspace(0, 1, POINTS, dtype=torch.float64).square()  # dense where curves are steep
    forms = {"paper's form": (paper_radius, "warm"), "lemma": (radius_needed, "accent")}

    def draw(axes: Axes) -> None:
        for name, (needed, colour) in forms.items():
            for alpha, style in MASSES.items():
                axes.plot(
                    divergences.numpy(),
                    needed(divergences, alpha, latent).numpy(),
                    style,
                    color=LIGHT[colour],
                    label=f"{name}, {alpha:.0%} outside",
                )
            at = float(needed(kl, 0.5, latent))
            axes.plot([kl], [at], "o", color=LIGHT[colour], markersize=5)
            axes.annotate(
                f"{at:.1f}",
                (kl, at),
                xytext=(-5, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=LIGHT[colour],
            )
        axes.axvline(kl, color=LIGHT["muted"], linestyle=":", linewidth=1.2)
        if radius is not None:
            axes.axhline(radius, color=LIGHT["ink"], linewidth=1)
            axes.annotate(
                f"radius {radius:.2f}",
                (1, radius),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
            )
        axes.set_xlim(0, 2 * kl)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("divergence K from the prior, in nats")
        axes.set_ylabel("radius ε needed")
        axes.legend(loc="upper left")

    half, little = (
        ", ".join(f"{name} {float(needed(kl, alpha, latent)):.1f}" for name, (needed, _) in forms.items())
        for alpha in MASSES
    )
    return draw_chart(
        "theorems",
        draw,
        title="How large a ball the theorems need",
        alt=f"Radius over the divergence for {latent} latents. At {kl:.3g} nats, half of the mass outside: {half}; "
        f"5 % outside: {little}.",
        caption="The error is at most D / (1 − α), with α the mass of the recognition distribution outside of the "
        "ball. Both forms know the divergence alone.",
        height=3.2,
    )
