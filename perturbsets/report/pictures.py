"""Grids of small images, as tiles for the page and as one labelled PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perturbsets._types import Images
from perturbsets.report.drawing import LIGHT

SMALL = 64  # below this width pixels are drawn as squares
MAGNIFIED = 10


@dataclass(frozen=True)
class Row:
    """One row of a grid.

    Attributes:
        label: Its label.
        images: Its images, in [0, 1].
        captions: A few letters under each image, or nothing.
    """

    label: str
    images: Images
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Group:
    """Adjacent columns under one heading.

    Attributes:
        heading: The heading, or nothing.
        columns: Number of columns.
    """

    heading: str
    columns: int


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns.

    Attributes:
        name: Name of its file, without ending.
        title: Its title.
        alt: A description for readers who cannot see it.
        caption: What to look for.
        rows: Rows of equally many images.
        groups: Columns by heading; together as many as the rows have images.
        labelled: Whether rows have labels.
        apart: Whether there is a gap between groups.
    """

    name: str
    title: str
    alt: str
    caption: str
    rows: Sequence[Row]
    groups: Sequence[Group]
    labelled: bool = True
    apart: bool = True

    @property
    def headed(self) -> bool:
        """Whether any column has a heading."""
        return any(group.heading for group in self.groups)

    @property
    def template(self) -> str:
        """The columns as a CSS template."""
        tiles = [f"repeat({group.columns}, minmax(0, 1fr))" for group in self.groups]
        return " var(--apart) ".join(tiles) if self.apart else " ".join(tiles)

    @property
    def pixelated(self) -> bool:
        """Whether images are small enough for pixels to be drawn as squares."""
        return self.rows[0].images.shape[-1] < SMALL

    def tiles(self, row: Row) -> list[list[tuple[str, str]]]:
        """Sources and captions of a row's tiles, by group."""
        captions = iter(row.captions or [""] * len(row.images))
        parts = row.images.split([group.columns for group in self.groups])
        return [[(data_uri(encode_png(image)), next(captions)) for image in part] for part in parts]

    def png(self) -> bytes:
        """The whole grid with labels and headings as a PNG file, in light colours."""
        return _grid_png(self)


def encode_png(image: Tensor) -> bytes:
    """One image ``[C, H, W]`` in [0, 1] as a PNG file; other than 1 or 3 channels are averaged."""
    from torchvision.transforms.v2.functional import to_pil_image

    file = io.BytesIO()
    image = image if len(image) in (1, 3) else image.mean(0, keepdim=True)
    to_pil_image((image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)).save(file, format="PNG")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG file as the source of an image element."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _grid_png(grid: Grid) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    height, width = grid.rows[0].images.shape[-2:]
    gap = max(1, round(0.07 * width))
    below = round(0.34 * height)  # room for captions
    starts, centres, place = [], [], 0
    for group in grid.groups:
        first = place
        for _ in range(group.columns):
            starts.append(place)
            place += width + gap
        centres.append((first + place - gap) / 2)
        place += 3 * gap if grid.apart else 0
    across = starts[-1] + width
    down = sum(height + gap + below * bool(row.captions) for row in grid.rows) - gap
    canvas = torch.ones(down, across, 3)
    middles, words, top = [], [], 0
    for row in grid.rows:
        middles.append(top + height / 2)
        for image, caption, left in zip(row.images, row.captions or [""] * len(row.images), starts, strict=True):
            words.append((left + width / 2, top + height + below / 2, caption))
            tile = image if len(image) in (1, 3) else image.mean(0, keepdim=True)
            canvas[top : top + height, left : left + width] = tile.clamp(0, 1).permute(1, 2, 0).cpu()
        top += height + gap + below * bool(row.captions)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        inches = 0.55 / width
        figure = Figure(figsize=(across * inches + 1.6 * grid.labelled + 0.2, down * inches + 0.5))
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        axes.imshow(canvas.numpy(), interpolation="nearest")
        axes.set_frame_on(False)
        axes.tick_params(length=0, labelcolor=LIGHT["ink"], labelsize=9, top=True, labeltop=True, labelbottom=False)
        axes.set_xticks(centres, [group.heading for group in grid.groups])
        axes.set_yticks(middles if grid.labelled else [], [row.label for row in grid.rows] if grid.labelled else [])
        for x, y, caption in words:
            axes.text(x, y, caption, ha="center", va="center", fontsize=8.5, color=LIGHT["ink"])
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160)
    return file.getvalue()


def attack_grids(
    arrays: Mapping[str, Tensor], names: Sequence[str], classes: Sequence[str], descriptions: Mapping[str, str]
) -> list[Grid]:
    """A grid for each adversary: clean images, the changes, and the adversarial images with their predicted classes.

    Args:
        arrays: ``clean`` images and ``labels``; for each adversary ``NAME/images`` and ``NAME/predictions``.
        names: The adversaries, in order.
        classes: Names of the classes.
        descriptions: Each adversary in words.

    Returns:
        The grids; none if there are no images.
    """
    return [_attack_grid(arrays, name, classes, descriptions) for name in names] if len(arrays["clean"]) else []


def _attack_grid(
    arrays: Mapping[str, Tensor], name: str, classes: Sequence[str], descriptions: Mapping[str, str]
) -> Grid:
    clean, labels = arrays["clean"], arrays["labels"]
    changed, predicted = arrays[f"{name}/images"], arrays[f"{name}/predictions"]
    change = changed - clean
    largest, length = float(change.abs().max()), float(change.flatten(1).norm(dim=1).mean())
    return Grid(
        name=f"attack-{name}",
        title=name,
        alt=f"{len(clean)} images in columns: clean with its class, the change by {name} times {MAGNIFIED}, and the "
        "changed image with the class predicted.",
        caption=f"{descriptions.get(name, name)}. Misclassified: {int((predicted != labels).sum())} of these "
        f"{len(clean)} images. The change (times {MAGNIFIED}, around grey) is at most {largest:.2g} per pixel, and has "
        f"an L2 norm of {length:.2g} on average.",
        rows=(
            Row("clean", clean, [classes[int(label)] for label in labels]),
            Row(f"change × {MAGNIFIED}", 0.5 + MAGNIFIED * change),
            Row("changed, predicted class", changed, [classes[int(label)] for label in predicted]),
        ),
        groups=(Group("", len(clean)),),
    )
