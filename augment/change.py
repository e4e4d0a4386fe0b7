"""Changes of images, whose parameters are drawn first and then applied, and pipelines of other libraries as changes."""

from __future__ import annotations

import copy
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from augment._types import Images, Parameters
from augment.extras import extra
from augment.functional.counter import SEED_NAMES, draw_seeds, from_columns, to_columns


@runtime_checkable
class Change(Protocol):
    r"""A random change of images, :math:`\tilde x = f(x, p)` with random parameters :math:`p`.

    Parameters are drawn first and then applied, so each changed image can be reproduced from its clean image and one
    row of numbers. A pair file records a :class:`augment.ChangeTransform` with its settings, a frozen dataclass with
    its arguments, and any other class by its name and, if it defines one, its ``repr``.
    """

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        """Draws parameters for `count` images."""

    def apply(self, images: Images, parameters: Parameters, /) -> Images:
        """Changes each image by its row of parameters: a deterministic function of both."""


@dataclass(frozen=True, eq=False)
class PipelineChange(ABC):
    """Base of pipelines that draw by themselves as changes, whose parameters are a seed per image."""

    pipeline: Any
    _: KW_ONLY
    takes: str = "uint8"
    name: str | None = None

    inputs: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.takes not in self.inputs:
            *most, last = (f'"{kind}"' for kind in self.inputs)
            raise ValueError(f"takes must be {', '.join(most)} or {last}, got {self.takes!r}")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns: the two halves of a seed."""
        return SEED_NAMES

    @property
    def conditions(self) -> tuple[str, ...]:
        """The only condition of pairs."""
        return (self.name or type(self).__name__,)

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        """Draws a seed per image."""
        return to_columns(draw_seeds(count, generator=generator))

    def apply(self, images: Images, parameters: Parameters) -> Images:
        """Changes each image by the pipeline, seeded by its row."""
        changed = []
        for image, seed in zip(images.cpu(), from_columns(parameters.cpu()).tolist(), strict=True):
            changed.append(self._one(image, seed))
            if changed[-1].shape != image.shape:
                raise ValueError(
                    f"pipeline must keep the shape of images, got {tuple(changed[-1].shape)} from {tuple(image.shape)}"
                )
        return torch.stack(changed).to(images) if changed else images.clone()

    @abstractmethod
    def _one(self, image: Tensor, seed: int) -> Tensor:
        """One image changed by the seeded pipeline."""


@dataclass(frozen=True, eq=False)
class TorchvisionChange(PipelineChange):
    """A transform of torchvision (v1 or v2), or any function of one image, as a reproducible change.

    Images are changed one by one on the CPU, with the global random states of torch, numpy and Python seeded by the
    row of parameters and restored afterwards. The pipeline must keep the shape of images.

    Args:
        pipeline: Takes and returns one image.
        takes: Its input: 8-bit tensors, float tensors in [0, 1], or PIL images.
        name: Name of the pairs' only condition; the class's name if not given.

    Raises:
        ValueError: If `takes` is unknown; when applied, if the pipeline returns another shape.

    Example:
        >>> from torchvision.transforms.v2 import ColorJitter
        >>> change, images = TorchvisionChange(ColorJitter(brightness=0.5)), torch.rand(2, 3, 8, 8)
        >>> rows = change.draw(2)
        >>> torch.equal(change.apply(images, rows), change.apply(images, rows))
        True
    """

    inputs: ClassVar[tuple[str, ...]] = ("uint8", "float", "pil")

    pipeline: Callable[[Any], Any]
    _: KW_ONLY
    takes: Literal["uint8", "float", "pil"] = "uint8"

    def apply(self, images: Images, parameters: Parameters) -> Images:
        with restored_random_states():
            return super().apply(images, parameters)

    def _one(self, image: Tensor, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        given: Any = tv_tensors.Image(image if self.takes == "float" else (image * 255).round().byte())
        changed = self.pipeline(F.to_pil_image(given) if self.takes == "pil" else given)
        if not isinstance(changed, Tensor):
            changed = F.pil_to_tensor(changed)
        return F.to_dtype(changed.as_subclass(Tensor), torch.float32, scale=True)


@contextmanager
def restored_random_states() -> Iterator[None]:
    """Restores the random states of torch (on the CPU), numpy and Python at the end."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


@dataclass(frozen=True, eq=False)
class AlbumentationsChange(PipelineChange):
    """A composition or a single transform of albumentations as a reproducible change.

    Images are changed one by one, as arrays with channels last, by a copy of the pipeline that is seeded by the row of
    parameters. The pipeline must keep the shape of images.

    Args:
        pipeline: Called as ``pipeline(image=...)["image"]``.
        takes: Its input: 8-bit arrays, or float32 arrays in [0, 1].
        name: Name of the pairs' only condition; the class's name if not given.

    Raises:
        TypeError: If the pipeline is no albumentations transform.
        ValueError: If `takes` is unknown; when applied, if the pipeline returns another shape.
    """

    inputs: ClassVar[tuple[str, ...]] = ("uint8", "float")

    _: KW_ONLY
    takes: Literal["uint8", "float"] = "uint8"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.pipeline, "set_random_seed"):
            raise TypeError(
                f"pipeline must be a transform or composition of albumentations, got {type(self.pipeline).__name__}"
            )

    @cached_property
    def _own(self) -> Any:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import calls out otherwise
        with extra("albumentations", type(self).__name__):
            import albumentations  # type: ignore[import-untyped]

        own = copy.deepcopy(self.pipeline)
        return own if isinstance(own, albumentations.BaseCompose) else albumentations.Compose([own])

    def _one(self, image: Tensor, seed: int) -> Tensor:
        pixels = image.permute(1, 2, 0).contiguous()
        given = (pixels * 255).round().byte().numpy() if self.takes == "uint8" else pixels.float().numpy().copy()
        self._own.set_random_seed(seed)
        changed = np.ascontiguousarray(self._own(image=given)["image"])
        tensor = torch.from_numpy(changed.reshape(*changed.shape[:2], -1)).permute(2, 0, 1)
        return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
