"""Multi-label digits: segments that follow from the digit, and attributes that are independent of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from augment._types import Images, Indices, Labels, Parameters, States
from augment.functional.spatial import rotate_translate_scale
from augment.functional.stroke import thicken
from augment.sources.digits import Digits, framed

_LIT = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")

SEGMENTS: Mapping[str, str] = {str(digit): segments for digit, segments in enumerate(_LIT)}
"""The segments that each digit lights: a on top, then clockwise b to f, and g in the middle; 6 and 9 have tails."""

_SCANS = 1797
_FINE = 4  # supersampling along each side
_BATCH = 256


@dataclass(frozen=True, eq=False)
class SegmentDigits(Digits):
    r"""Multi-label digits: the scans of :class:`Digits` with random rotation, scale, shift and stroke width.

    Eleven labels: the segments ``a`` to ``g`` that a seven-segment display lights for the digit, which are a function
    of the class; and four that are independent of it. Each of these has an amount that is drawn from the uniform
    distribution :math:`U` of its range, and is on above the middle of the range:

    | label | amount | drawn from |
    |---|---|---|
    | tilted | angle to either side, in degrees | :math:`U[0, \text{rotation}]` |
    | large | factor of size | :math:`U[\text{scale}]` |
    | shifted | distance of the shift, as a share of the frame | :math:`U[0, \text{shift}]`, in a direction drawn too |
    | bold | pixels added to each side of every stroke of factor 1 (negative: taken) | :math:`U[\text{stroke}]` |

    Scans have slants, sizes, positions and stroke widths of their own, so these labels cannot be read off an image
    exactly. Draws depend on the scan's row, the copy and the seed alone. Images are drawn at the first use of one, with
    fourfold supersampling.

    Args:
        split: The split of the scans, as for :class:`Digits`; copies of one scan are in one split.
        size: Height and width of images, in pixels.
        digit: Height and width of an enlarged scan of scale 1 inside, in pixels; at least 8.
        seed: For the draws.
        copies: Images of each scan of the training split; other splits have one, since images of one scan are not
            independent. The first copies of all scans come first, then the second ones and so on.
        rotation: Largest angle, in degrees, in both directions.
        scale: Smallest and largest scale factor.
        shift: Largest distance, as a share of the image's side.
        stroke: Smallest and largest number of pixels that are added to each side of a stroke.
        unsure: Share of an amount's range, around its middle, in which the label's state is unknown; from 0 to below 1.

    Raises:
        ValueError: If a setting is out of its range, or a range has no width.

    Example:
        >>> digits = SegmentDigits("test", unsure=0.2)
        >>> images, labels = digits.batch([0, 1])
        >>> len(digits), tuple(images.shape), labels.tolist()
        (300, (2, 1, 28, 28), [6, 3])
        >>> [name for name, state in zip(digits.label_names, digits.states([1])[0], strict=True) if state == 1]
        ['a', 'b', 'c', 'd', 'g', 'large', 'shifted']
    """

    name: ClassVar[str] = "segment digits"
    segments: ClassVar[tuple[str, ...]] = tuple("abcdefg")
    attributes: ClassVar[tuple[str, ...]] = ("tilted", "large", "shifted", "bold")
    label_names: ClassVar[tuple[str, ...]] = (*segments, *attributes)

    _: KW_ONLY
    seed: int = 0
    copies: int = 1
    rotation: float = 30.0
    scale: tuple[float, float] = (0.85, 1.3)
    shift: float = 0.15
    stroke: tuple[float, float] = (-0.4, 0.8)
    unsure: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.copies < 1:
            raise ValueError(f"copies must be 1 or more, got {self.copies}.")
        for name in ("rotation", "shift"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a finite number above 0, got {getattr(self, name)}: its label is on above half "
                    "of it. Give a small number for images that hardly differ."
                )
        for name, least in (("scale", 0.0), ("stroke", -math.inf)):
            ends = getattr(self, name)
            if len(ends) != 2 or not least < ends[0] < ends[1] < math.inf:
                raise ValueError(
                    f"{name} must be (smallest, largest), finite, increasing and above {least:g}, got {tuple(ends)}: "
                    "its label is on above the middle."
                )
        if not 0 <= self.unsure < 1:
            raise ValueError(f"unsure must be from 0 to below 1, got {self.unsure}: it is a share of the range.")

    @property
    def _times(self) -> int:
        """Images of each scan of the split."""
        return self.copies if self.split == "train" else 1

    @cached_property
    def parameters(self) -> Parameters:
        """Rotation, scale, shift_x, shift_y and stroke of each image, signed and in their own units."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = self._scans[2]
        drawn = torch.cat([torch.rand(_SCANS, 6, generator=generator)[rows] for _ in range(self._times)])
        low, high = self._ranges
        angle, factor, distance, width = torch.lerp(low, high, drawn[:, :4]).unbind(1)
        side, direction = (drawn[:, 4] - 0.5).sign(), drawn[:, 5] * (2 * math.pi)
        return torch.stack([side * angle, factor, distance * direction.cos(), distance * direction.sin(), width], 1)

    @property
    def _ranges(self) -> Float[Tensor, "2 4"]:
        """Smallest and largest amount of each attribute."""
        return torch.tensor([[0.0, self.rotation], self.scale, [0.0, self.shift], self.stroke]).T

    @cached_property
    def images(self) -> Images:
        """All images of the split, float32 in [0, 1]."""
        scans = self._scans[0].repeat(self._times, 1, 1, 1)
        images = []
        for some, parameters in zip(scans.split(_BATCH), self.parameters.split(_BATCH), strict=True):
            fine = framed(some, _FINE * self.size, _FINE * self.digit)
            moved = rotate_translate_scale(thicken(fine, _FINE * parameters[:, 4]), *parameters[:, :4].unbind(1))
            images.append(avg_pool2d(moved, _FINE).clamp(0, 1))
        return torch.cat(images)

    @cached_property
    def labels(self) -> Labels:
        """Digits of all images."""
        return self._scans[1].repeat(self._times)

    @cached_property
    def indices(self) -> Indices:
        """Row of the scan in scikit-learn's arrays, and 1,797 more for each further copy."""
        return torch.cat([self._scans[2] + copy * _SCANS for copy in range(self._times)])

    @property
    def groups(self) -> Indices:
        """Row of each image's scan in scikit-learn's arrays: copies of a scan belong together."""
        return self._scans[2].repeat(self._times)

    @cached_property
    def _states(self) -> States:
        table = torch.tensor([[float(name in SEGMENTS[digit]) for name in self.segments] for digit in self.classes])
        low, high = self._ranges
        rotation, scale, x, y, stroke = self.parameters.unbind(1)
        half = (high - low) / 2
        above = torch.stack([rotation.abs(), scale, torch.hypot(x, y), stroke], 1) - (low + half)
        drawn = (above > 0).float().masked_fill(above.abs() < self.unsure * half, math.nan)
        return torch.cat([table[self.labels], drawn], 1)

    def states(self, indices: Sequence[int] | Tensor) -> States:
        """States of the labels at positions of this split, in the order of `label_names`."""
        return self._states[torch.as_tensor(indices, dtype=torch.int64)]
