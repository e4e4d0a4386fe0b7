"""A pipeline that draws for itself as a change: one seed per image."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Int64
from torch import Tensor

from augment._types import Images, Parameters
from augment.functional import draw_seeds
from augment.seeds import NAMES, from_columns, to_columns


class PipelineChange(ABC):
    """A change whose parameters are a seed per image; a subclass says how its pipeline changes images under seeds.

    Attributes:
        name: What the pairs' one condition is called; the class's name if None.
    """

    name: str | None

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns: a seed in two parts."""
        return NAMES

    @property
    def conditions(self) -> tuple[str, ...]:
        """The one condition."""
        return (self.name or type(self).__name__,)

    def condition(self, parameters: Parameters) -> Int64[Tensor, " B"]:
        """Number of each row's condition: 0, as there is one."""
        return torch.zeros(len(parameters), dtype=torch.int64)

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        """Draws a seed per image."""
        return to_columns(draw_seeds(count, generator=generator))

    def apply(self, images: Images, parameters: Parameters) -> Images:
        """Changes each image under its seed."""
        changed = self._changed(images.cpu(), from_columns(parameters.cpu()).tolist())
        return torch.stack(changed).to(images) if changed else images.clone()

    @abstractmethod
    def _changed(self, images: Images, seeds: list[int]) -> list[Tensor]:
        """The images one by one, each under its seed."""
