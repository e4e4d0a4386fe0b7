"""What attacks make of images, as pictures: clean, the change, the changed image, and what is seen in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from perturbsets._types import Labels
from perturbsets.report.pictures import Grid, Group, Row

MAGNIFIED = 10


def attack_grids(
    made: Mapping[str, Tensor], names: Sequence[str], classes: Sequence[str], descriptions: Mapping[str, str]
) -> list[Grid]:
    """A grid for each adversary.

    Args:
        made: ``clean`` images and ``labels``; for each adversary ``NAME/images`` and ``NAME/predictions``.
        names: The adversaries, in order.
        classes: Names of the classes.
        descriptions: Each adversary in words.

    Returns:
        The grids; none if there are no images.
    """
    clean, labels = made["clean"], made["labels"]
    if not len(clean):
        return []
    return [
        _grid(name, clean, labels, made[f"{name}/images"], made[f"{name}/predictions"], classes, descriptions)
        for name in names
    ]


def _grid(
    name: str,
    clean: Tensor,
    labels: Labels,
    changed: Tensor,
    predicted: Labels,
    classes: Sequence[str],
    descriptions: Mapping[str, str],
) -> Grid:
    change = changed - clean
    turned = int((predicted != labels).sum())
    distances = change.flatten(1)
    largest, length = float(distances.abs().max()), float(distances.norm(dim=1).mean())
    return Grid(
        name=f"attack-{name}",
        title=name,
        alt=f"{len(clean)} images in columns: clean with its class, the change by {name} times {MAGNIFIED}, and the "
        "changed image with the class predicted.",
        caption=f"{descriptions.get(name, name)}. It turns {turned} of these {len(clean)} images. The change, "
        f"times {MAGNIFIED} around grey, moves a pixel by {largest:.2g} at most and an image by {length:.2g} in L2, on "
        "average.",
        rows=(
            Row("clean", clean, [classes[int(label)] for label in labels]),
            Row(f"change × {MAGNIFIED}", 0.5 + MAGNIFIED * change),
            Row("changed, as predicted", changed, [classes[int(label)] for label in predicted]),
        ),
        groups=(Group("", len(clean)),),
    )
