"""Grids of small images, as tiles for the page and as one labelled PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.extras import extra
from perturbsets._types import Images
from perturbsets.report.drawing import LIGHT

SMALL = 64  # below this width pixels are drawn as squares
MAGNIFIED = 10


@dataclass(frozen=True)
class Row:
    """One row of a grid: images in [0, 1], with a few letters under each, or none."""

    label: str
    images: Images
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Group:
    """Adjacent columns under one heading, which may be empty."""

    heading: str
    columns: int


@dataclass(frozen=True)
class Grid:
    """Images in rows and columns."""

    name: str  # of its file, without ending
    title: str
    alt: str  # a description for readers who cannot see it
    caption: str  # what to look for
    rows: Sequence[Row]  # of equally many images
    groups: Sequence[Group] = ()  # of the columns; by default one without heading
    labelled: bool = True  # whether rows have labels
    apart: bool = True  # whether there is a gap between groups

    def __post_init__(self) -> None:
        if not self.groups:
            object.__setattr__(self, "groups", (Group("", len(self.rows[0].images)),))

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
        with extra("report", "a picture with labels"):
            import matplotlib
            from matplotlib.figure import Figure

        canvas, words, centres, middles = self._drawn()
        inches = 0.55 / self.rows[0].images.shape[-1]
        down, across = (inches * size for size in canvas.shape[:2])
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            figure = Figure(figsize=(across + 1.6 * self.labelled + 0.2, down + 0.5), layout="constrained")
            axes = figure.add_subplot()
            axes.imshow(canvas.numpy(), interpolation="nearest")
            axes.set_frame_on(False)
            axes.tick_params(length=0, labelcolor=LIGHT["ink"], labelsize=9, top=True, labeltop=True, labelbottom=False)
            axes.set_xticks(centres, [group.heading for group in self.groups])
            axes.set_yticks(middles if self.labelled else [], [row.label for row in self.rows if self.labelled])
            for x, y, caption in words:
                axes.text(x, y, caption, ha="center", va="center", fontsize=8.5, color=LIGHT["ink"])
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=160)
        return file.getvalue()

    def _drawn(self) -> tuple[Tensor, list[tuple[float, float, str]], list[float], list[float]]:
        """All tiles on one canvas, captions with their places, and the middles of groups and rows."""
        height, width = self.rows[0].images.shape[-2:]
        gap, below = max(1, round(0.07 * width)), round(0.34 * height)  # below: room for captions
        starts, centres, place = list[int](), list[float](), 0
        for group in self.groups:
            starts += range(place, place + group.columns * (width + gap), width + gap)
            end = starts[-1] + width
            centres.append((place + end) / 2)
            place = end + gap + 3 * gap * self.apart
        tops = [0]
        for row in self.rows:
            tops.append(tops[-1] + height + gap + below * bool(row.captions))
        canvas, words = torch.ones(tops[-1] - gap, starts[-1] + width, 3), list[tuple[float, float, str]]()
        for row, top in zip(self.rows, tops, strict=False):
            for image, caption, left in zip(row.images, row.captions or [""] * len(starts), starts, strict=True):
                words.append((left + width / 2, top + height + below / 2, caption))
                canvas[top : top + height, left : left + width] = _tile(image).permute(1, 2, 0)
        return canvas, words, centres, [top + height / 2 for top in tops[:-1]]


def _tile(image: Tensor) -> Tensor:
    """An image of 1 or 3 channels, others averaged, within [0, 1] on the CPU."""
    return (image if len(image) in (1, 3) else image.mean(0, keepdim=True)).detach().cpu().clamp(0, 1)


def encode_png(image: Tensor) -> bytes:
    """One image ``[C, H, W]`` in [0, 1] as a PNG file; other than 1 or 3 channels are averaged."""
    from torchvision.transforms.v2.functional import to_pil_image

    file = io.BytesIO()
    to_pil_image((_tile(image) * 255).round().to(torch.uint8)).save(file, format="PNG")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG file as the source of an image element."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def attack_grids(
    arrays: Mapping[str, Tensor], names: Sequence[str], classes: Sequence[str], descriptions: Mapping[str, str]
) -> list[Grid]:
    """A grid for each adversary: clean images, the changes, and the adversarial images with their predicted classes.

    Arrays are ``clean`` images and ``labels``, and for each adversary ``NAME/images`` and ``NAME/predictions``; without
    images there are no grids.
    """
    clean, labels = arrays["clean"], arrays["labels"]
    grids = []
    for name in names if len(clean) else ():
        changed, predicted = arrays[f"{name}/images"], arrays[f"{name}/predictions"]
        change = changed - clean
        largest, length = float(change.abs().max()), float(change.flatten(1).norm(dim=1).mean())
        rows = (
            Row("clean", clean, [classes[int(label)] for label in labels]),
            Row(f"change × {MAGNIFIED}", 0.5 + MAGNIFIED * change),
            Row("changed, predicted class", changed, [classes[int(label)] for label in predicted]),
        )
        alt = (
            f"{len(clean)} images in columns: clean with its class, the change by {name} times {MAGNIFIED}, and the "
            "changed image with the class predicted."
        )
        caption = (
            f"{descriptions.get(name, name)}. Misclassified: {int((predicted != labels).sum())} of these "
            f"{len(clean)} images. The change (times {MAGNIFIED}, around grey) is at most {largest:.2g} per pixel, and "
            f"has an L2 norm of {length:.2g} on average."
        )
        grids.append(Grid(f"attack-{name}", name, alt, caption, rows))
    return grids
