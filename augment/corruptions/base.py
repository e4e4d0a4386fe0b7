"""A corruption as a transform: a pure function of images, with settings that are fixed or drawn from ranges."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from augment._types import Images, Parameters, Seeds
from augment.functional.counter import SEED_NAMES, draw_seeds, from_columns, to_columns, uniform
from augment.transform import ChangeTransform

Range = int | float | tuple[int | float, int | float] | list[int | float]
"""A setting: one number for all images, or (low, high), from which each image draws uniformly."""


class CommonCorruption(ChangeTransform):
    """Base of the 19 common corruptions with settings of one's own.

    A subclass names its function: ``class Fog(CommonCorruption, function=functional.fog)``. Each image draws a seed,
    from which its settings in ranges and all its noise follow. A row of parameters holds the settings that were drawn,
    and for corruptions with noise the two halves of the seed.

    Args:
        settings: Arguments of the function, each a number or (low, high).
        generator: As for :class:`augment.ImageTransform`, like the other options.
        return_parameters: Whether to return ``(sample, parameters)``.
        moves_pixels: Whether pixels move, and masks with them.

    Raises:
        ValueError: If a range runs from high to low, or is not finite.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor] | None = None) -> None:
        super().__init_subclass__()
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(
        self,
        settings: dict[str, Range],
        *,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
        moves_pixels: bool = False,
    ) -> None:
        super().__init__(moves_pixels=moves_pixels, generator=generator, return_parameters=return_parameters)
        self._settings = {name: _checked(name, value) for name, value in settings.items()}

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    @property
    def seeded(self) -> bool:
        """Whether there is noise."""
        return "seeds" in inspect.signature(self.function).parameters

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*self._ranges, *(SEED_NAMES if self.seeded else ()))

    @property
    def _ranges(self) -> dict[str, tuple[int | float, int | float]]:
        return {name: value for name, value in self._settings.items() if isinstance(value, tuple)}

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        return self.from_seeds(draw_seeds(count, generator=generator))

    def from_seeds(self, seeds: Seeds) -> Parameters:
        """The rows of parameters that follow from seeds."""
        drawn = [low + (high - low) * uniform(seeds, 1, name) for name, (low, high) in self._ranges.items()]
        columns = to_columns(seeds) if self.seeded else torch.zeros(len(seeds), 0, device=seeds.device)
        return torch.cat([*drawn, columns], 1)

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return type(self).function(images, **self.arguments(parameters))

    def arguments(self, parameters: Parameters) -> dict[str, Any]:
        """The function's arguments by name, without the images: settings as given or as drawn, and the seeds."""
        self.check_parameters(parameters)
        count = len(self._ranges)
        drawn = dict(zip(self._ranges, parameters[:, :count].unbind(1), strict=True))
        given = {"seeds": from_columns(parameters[:, count:])} if self.seeded else {}
        return {**self._settings, **drawn, **given}


def _checked(name: str, value: Any) -> Range:
    """A setting; a range may be a list, as in JSON and YAML."""
    ends = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2 or not -float("inf") < ends[0] <= ends[1] < float("inf"):  # NaN fails too
        raise ValueError(f"{name} must be a finite number or (low, high) with low <= high, got {value}")
    return ends if isinstance(value, tuple | list) else value


def planes(mask: Tensor, count: int) -> Tensor:
    """Masks ``[..., H, W]`` of one image, or ``[B, ..., H, W]`` of several, as layers ``[B, N, H, W]``."""
    if mask.ndim < 2 + (count > 1) or (count > 1 and len(mask) != count):
        raise ValueError(f"mask must be [{count}, ..., H, W] for {count} images, got {list(mask.shape)}")
    return mask.reshape(count, -1, *mask.shape[-2:])
