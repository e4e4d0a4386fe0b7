"""A change: parameters drawn first, then applied by a pure function."""

from __future__ import annotations

import copy
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from augment._types import Images, Parameters
from augment.functional import draw_seeds
from augment.seeds import NAMES, from_columns, to_columns


@runtime_checkable
class Change(Protocol):
    r"""What turns a clean image :math:`x` into a changed one :math:`\tilde x = f(x, p)`.

    Drawing :math:`p` is separate from applying :math:`f`, so any changed image can be made again from its clean
    image and one row of numbers. A :class:`augment.ChangeTransform` is recorded in a pair file with its settings, a
    frozen dataclass with its arguments, any other class by its name and, where it has one of its own, its ``repr``.

    Example:
        >>> from augment import SpatialChange
        >>> isinstance(SpatialChange(), Change)
        True
    """

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        """Draws parameters for `count` images."""

    def apply(self, images: Images, parameters: Parameters, /) -> Images:
        """Changes each image by its row of parameters; reads nothing else and draws nothing."""


# A pipeline that draws for itself as a change: one seed per image.


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


# A torchvision pipeline as a change: one seed per image.


@dataclass(frozen=True, eq=False)
class TorchvisionChange(PipelineChange):
    """Any transform of one image, from torchvision (v1 or v2) or a function of one's own, as a change that replays.

    Each image is changed alone, on the CPU, with torch's, numpy's and Python's global random states seeded by its row
    of parameters; the states are put back afterwards. The image keeps its shape.

    Args:
        pipeline: Takes and returns one image.
        takes: What it takes: 8-bit tensors, float tensors in [0, 1], or PIL images.
        name: What the pairs' one condition is called, to tell pipelines apart; the class's name if not given.

    Raises:
        ValueError: If `takes` is unknown; when applied, if the pipeline returns another shape.

    Example:
        >>> from torchvision.transforms.v2 import ColorJitter
        >>> change = TorchvisionChange(ColorJitter(brightness=0.5))
        >>> rows = change.draw(2, generator=torch.Generator().manual_seed(0))
        >>> images = torch.rand(2, 3, 8, 8)
        >>> torch.equal(change.apply(images, rows), change.apply(images, rows))
        True
    """

    pipeline: Callable[[Any], Any]
    takes: Literal["uint8", "float", "pil"] = "uint8"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.takes not in ("uint8", "float", "pil"):
            raise ValueError(f'takes must be "uint8", "float" or "pil", got {self.takes!r}')

    def _changed(self, images: Images, seeds: list[int]) -> list[Tensor]:
        with states_put_back():
            return [self._one(image, seed) for image, seed in zip(images, seeds, strict=True)]

    def _one(self, image: Tensor, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        given: Any = tv_tensors.Image(image if self.takes == "float" else (image * 255).round().byte())
        changed = self.pipeline(F.to_pil_image(given) if self.takes == "pil" else given)
        if not isinstance(changed, Tensor):
            changed = F.pil_to_tensor(changed)
        changed = F.to_dtype(changed.as_subclass(Tensor), torch.float32, scale=True)
        if changed.shape != image.shape:
            raise ValueError(
                f"pipeline must keep the shape of images, got {tuple(changed.shape)} from {tuple(image.shape)}"
            )
        return changed


@contextmanager
def states_put_back() -> Iterator[None]:
    """Leaves the random states of torch (on the CPU), numpy and Python as they were."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


# An albumentations pipeline as a change: one seed per image.


@dataclass(frozen=True, eq=False)
class AlbumentationsChange(PipelineChange):
    """A composition or a single transform of albumentations as a change that replays.

    Each image is changed alone, as an array with channels last, by a private copy that is seeded by its row of
    parameters; the pipeline itself stays preserve_state. The image keeps its shape.

    Args:
        pipeline: Called as ``pipeline(image=...)["image"]``.
        takes: What it takes: 8-bit arrays, or float32 arrays in [0, 1].
        name: What the pairs' one condition is called, to tell pipelines apart; the class's name if not given.

    Raises:
        TypeError: If the pipeline is no albumentations transform.
        ValueError: If `takes` is unknown; when applied, if the pipeline returns another shape.
    """

    pipeline: Any
    takes: Literal["uint8", "float"] = "uint8"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.takes not in ("uint8", "float"):
            raise ValueError(f'takes must be "uint8" or "float", got {self.takes!r}')
        if not hasattr(self.pipeline, "set_random_seed"):
            raise TypeError(
                f"pipeline must be a transform or composition of albumentations, got {type(self.pipeline).__name__}"
            )

    @cached_property
    def _own(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import calls out otherwise
        import albumentations  # type: ignore[import-untyped]

        own = copy.deepcopy(self.pipeline)
        return own if isinstance(own, albumentations.BaseCompose) else albumentations.Compose([own])

    def _changed(self, images: Images, seeds: list[int]) -> list[Tensor]:
        return [self._one(image, seed) for image, seed in zip(images, seeds, strict=True)]

    def _one(self, image: Tensor, seed: int) -> Tensor:
        pixels = image.permute(1, 2, 0).contiguous()
        given = (pixels * 255).round().byte().numpy() if self.takes == "uint8" else pixels.float().numpy().copy()
        self._own.set_random_seed(seed)
        changed = np.ascontiguousarray(self._own(image=given)["image"])
        found = torch.from_numpy(changed.reshape(*changed.shape[:2], -1)).permute(2, 0, 1)
        if found.shape != image.shape:
            raise ValueError(
                f"pipeline must keep the shape of images, got {tuple(found.shape)} from {tuple(image.shape)}"
            )
        return found.float() / 255 if found.dtype == torch.uint8 else found.float()
