"""A torchvision pipeline as a change: one seed per image."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from augment._types import Images
from augment.pipeline_change import PipelineChange


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
