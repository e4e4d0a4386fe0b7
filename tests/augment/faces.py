"""Drawn faces whose brows, eyes, nose and mouth show action units, in a folder with a list, as one's own faces are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 5, 9, 10, 11, 12, 14, 15, 23, 24))
SHOWN: dict[str, tuple[tuple[int, ...], ...]] = {
    "Angry": ((23, 24), (4, 23, 24)),
    "Disgust": ((9,), (10,), (9, 10), (4, 9)),
    "Fear": ((1, 2, 4), (1, 2, 4, 5)),
    "Happy": ((12,),),
    "Sad": ((1, 4, 15), (11,), (11, 15)),
    "Surprise": ((1, 2), (5,), (1, 2, 5)),
    "Contempt": ((14,),),
}
"""Ways to show each expression: they fulfil its rule for CK+ and no other, but for Fear, which contains Surprise."""
NOTHING: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (4,), (15,), (23,), (24,))
"""Units that fulfil no class's rule."""

_FINE = 4
_INK = 25


@dataclass(frozen=True)
class Person:
    """What differs between persons: measures in 64ths of the picture's side, tones in grey levels."""

    width: float
    height: float
    eyes: float
    brow: float
    mouth: float
    nose: float
    skin: int
    hair: int
    ground: int

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Person:
        low = (19, 24, 8.0, 1.6, 7.0, 6.0, 150, 30, 60)
        high = (23, 28, 10.0, 2.6, 9.0, 8.5, 220, 110, 245)
        values = random.uniform(low, high)
        return cls(*(float(value) for value in values[:6]), *(int(value) for value in values[6:]))


def write_faces(
    folder: Path, *, persons: int = 24, each: int = 8, size: int = 64, missing: float = 0.1, seed: int = 0
) -> Path:
    """Draws faces of some persons and lists them.

    Each person shows the seven expressions in turn. Every eighth face shows none and has no class, as many sequences of
    CK+; and some states are empty, but never all of one face.

    Args:
        folder: Where ``manifest.csv`` and the folders of persons go.
        persons: Number of persons; each is a group.
        each: Faces of each person.
        size: Height and width of the pictures.
        missing: Share of states that nobody coded.
        seed: For all draws.

    Returns:
        The list.
    """
    random = np.random.default_rng(seed)
    rows = []
    for number in range(persons):
        person, group = Person.drawn(random), f"S{number + 1:03}"
        (folder / group).mkdir(parents=True, exist_ok=True)
        for face in range(each):
            kind = "" if (face + number) % 8 == 7 else tuple(SHOWN)[(face + number) % 8]
            ways = SHOWN.get(kind, NOTHING)
            units = ways[random.integers(len(ways))]
            image = f"{group}/{face:03}.png"
            picture(person, frozenset(units), random, size).save(folder / image)
            known = random.uniform(size=len(UNITS)) >= missing
            known[random.integers(len(UNITS))] = True
            states = [str(int(int(name[2:]) in units)) if told else "" for name, told in zip(UNITS, known, strict=True)]
            rows.append([image, kind, group, *states])
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["image", "class", "group", *UNITS], *rows])
    return manifest


def picture(person: Person, units: frozenset[int], random: np.random.Generator, size: int) -> Image.Image:
    """One face, turned and moved a little, with grain."""
    side = 64 * _FINE
    image = Image.new("L", (side, side), person.ground)
    pen = _Pen(ImageDraw.Draw(image))
    pen.oval(32, 30, person.width + 2, person.height + 1, person.hair)
    pen.oval(32, 34, person.width, person.height - 2, person.skin)
    for to in (-1, 1):
        _eye(pen, person, units, to)
        _brow(pen, person, units, to)
    _nose(pen, person, units)
    _mouth(pen, person, units)
    angle, (right, down) = float(random.uniform(-6, 6)), random.uniform(-2, 2, 2) * _FINE
    image = image.rotate(
        angle, Image.Resampling.BILINEAR, translate=(int(right), int(down)), fillcolor=person.ground
    ).resize((size, size), Image.Resampling.BOX)
    grain = np.asarray(image, dtype=np.float64) + random.normal(0, 4, (size, size))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


class _Pen:
    """Draws in 64ths of the side, on a picture that is finer."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def oval(self, x: float, y: float, width: float, height: float, tone: int) -> None:
        box = [(x - width) * _FINE, (y - height) * _FINE, (x + width) * _FINE, (y + height) * _FINE]
        self._draw.ellipse(box, fill=tone)

    def line(self, *points: tuple[float, float], width: float, tone: int = _INK) -> None:
        """A smooth line through the ends and towards the points between: a Bézier curve of three points."""
        along = np.linspace(0, 1, 24)[:, None]
        start, middle, end = np.array(points if len(points) == 3 else (points[0], np.mean(points, 0), points[1]))
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
        path = [(float(x) * _FINE, float(y) * _FINE) for x, y in curve]
        self._draw.line(path, fill=tone, width=round(width * _FINE), joint="curve")


def _eye(pen: _Pen, person: Person, units: frozenset[int], to: int) -> None:
    x, wide = 32 + to * person.eyes, 5 in units
    pen.oval(x, 28, 4.2, 4.2 if wide else 2.2, 245)
    pen.oval(x, 28, 1.8, 1.8, _INK)
    pen.line((x - 4.2, 28), (x, 20.5 if wide else 24.2), (x + 4.2, 28), width=0.9)


def _brow(pen: _Pen, person: Person, units: frozenset[int], to: int) -> None:
    lowered = 2.5 if 4 in units else 0.0
    inner = 22 + lowered - (5.0 if 1 in units else 0.0)
    outer = 22 + lowered / 2 - (5.0 if 2 in units else 0.0)
    near, far = 32 + to * (person.eyes - 4.5 - lowered / 2), 32 + to * (person.eyes + 5.5)
    pen.line((near, inner), ((near + far) / 2, (inner + outer) / 2 - 1.5), (far, outer), width=person.brow)
    if 4 in units:  # furrows between the brows
        pen.line((32 + to * 1.5, 20), (32 + to * 1.5, 25), width=0.9)


def _nose(pen: _Pen, person: Person, units: frozenset[int]) -> None:
    tip = 30 + person.nose
    shade = person.skin - 70
    pen.line((32, 30), (33.5, tip), width=0.9, tone=shade)
    pen.line((29.5, tip), (32, tip + 2), (34.5, tip), width=1.1, tone=shade)
    if 9 in units:  # wrinkles across its root
        for y in (27.0, 29.0, 31.0):
            pen.line((29, y + 1), (32, y - 1), (35, y + 1), width=0.8)
    for to in (-1, 1):
        if 11 in units:  # the furrow beside the nose, deep in its middle
            pen.line((32 + to * 5, tip - 1), (32 + to * 8.5, tip + 2), (32 + to * 9, tip + 6), width=1.3)


def _mouth(pen: _Pen, person: Person, units: frozenset[int]) -> None:
    tight = bool(units & {23, 24})
    half = person.mouth * (0.65 if 23 in units else 1.0)
    corner = 47 - (3.5 if 12 in units else 0.0) + (3.5 if 15 in units else 0.0)
    middle = 47 + (3.0 if 12 in units else 0.0) - (2.5 if 15 in units else 0.0)
    pen.line((32 - half, corner), (32, middle), (32 + half, corner), width=0.9 if tight else 2.2, tone=60)
    if 10 in units:  # the upper lip is raised in an arch, and teeth show
        pen.oval(32, 46, half * 0.7, 2.8, 60)
        pen.oval(32, 46.2, half * 0.6, 1.7, 250)
    if 24 in units:  # pressed lips bulge above and below their line
        for y in (44.5, 49.5):
            pen.line((32 - half, 47), (32, y), (32 + half, 47), width=0.8)
    if 14 in units:  # a dimple at one corner, which is drawn in
        pen.line((32 + half, corner), (32 + half + 2.0, corner - 1.0), width=1.2)
        pen.line((32 + half + 2.5, 43.0), (32 + half + 4.0, 46.0), (32 + half + 2.5, 49.0), width=1.3)
