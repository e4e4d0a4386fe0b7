"""An albumentations pipeline as a change: one seed per image."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from augment._types import Images
from augment.pipeline_change import PipelineChange


@dataclass(frozen=True, eq=False)
class AlbumentationsChange(PipelineChange):
    """A composition or a single transform of albumentations as a change that replays.

    Each image is changed alone, as an array with channels last, by a private copy that is seeded by its row of
    parameters; the pipeline itself stays untouched. The image keeps its shape.

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
