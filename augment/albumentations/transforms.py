"""Transforms of this package for albumentations' pipelines; each draws only a seed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from albumentations.core.transforms_interface import BaseTransformInitSchema, ImageOnlyTransform
from pydantic import Field

import augment.corruptions
from augment.sample_images import unit_batch
from augment.transform import ImageTransform

TARGETS = ("mask", "masks", "mask3d", "masks3d", "bboxes", "keypoints")


class SeededTransform(ImageOnlyTransform):
    """Applies an :class:`augment.ImageTransform`, with a seed drawn from albumentations' own random state.

    Takes ``uint8`` images and floating-point ones in [0, 1]; grey ``(H, W)`` or ``(H, W, 1)``, colour ``(H, W, 3)``.
    All images of one call share their draw, as is albumentations' rule, and are changed as one batch. Other targets
    pass through, but are refused if pixels move. A replay stores the seed. A subclass sets `_transform`, or has a
    property `transform` of its own.

    Args:
        p: Probability that a call applies the transform.
    """

    _transform: ImageTransform

    class InitSchema(BaseTransformInitSchema):
        """Types of the arguments, which albumentations checks."""

        always_apply: bool | None = Field(None, exclude=True)  # albumentations 1.4 wants it, and calls it deprecated

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)
        self._others: list[str] = []

    @property
    def transform(self) -> ImageTransform:
        """The transform."""
        return self._transform

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        """Records other names of targets, of which albumentations keeps only those of images; its hook."""
        super().add_targets(additional_targets)
        self._others += [name for name, kind in additional_targets.items() if kind in TARGETS]

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        """The arguments that are saved beside `p`; albumentations' hook."""
        return tuple(name for name in inspect.signature(type(self)).parameters if name != "p")

    def get_params(self) -> dict[str, Any]:
        """Draws the seed; albumentations' hook."""
        return {"seed": self.py_random.getrandbits(32)}

    def apply(self, img: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """Changes one image; albumentations' hook."""
        changed: np.ndarray = self.apply_to_images(img[None], *args, **params)[0]
        return changed

    def apply_to_images(self, images: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """Changes several images by one draw; albumentations' hook."""
        if images.ndim not in (3, 4):
            raise ValueError(f"images must be (H, W) or (H, W, C) each, got {images.shape[1:]}")
        batch = torch.tensor(images if images.ndim == 4 else images[..., None]).permute(0, 3, 1, 2)
        rows = self.transform.rows(unit_batch(batch[:1]), torch.Generator().manual_seed(params["seed"]))
        changed = self.transform.replay(batch, rows.expand(len(batch), -1))
        return changed.permute(0, 2, 3, 1).reshape(images.shape).numpy()

    def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Changes a sample, or refuses it if it holds what would have to move with pixels; albumentations' hook."""
        left = [name for name in (*TARGETS, *self._others) if kwargs.get(name) is not None]
        if left and self.transform.moves_pixels:
            raise ValueError(
                f"sample holds {', '.join(left)}, which would have to move with the pixels that "
                f"{type(self).__name__} moves: leave them out, or this transform"
            )
        changed: dict[str, Any] = super().apply_with_params(params, *args, **kwargs)
        return changed


class Corruption(SeededTransform):
    """A common corruption at a published severity: :class:`augment.Corruption` for albumentations' pipelines.

    Args:
        name: One of the 19, for example ``"fog"``.
        severity: 1 to 5.
        constants: ``"cifar-c"`` for images of about 32 pixels, ``"imagenet-c"`` for about 224.
        p: Probability that a call applies the transform.

    Example:
        >>> import albumentations, numpy
        >>> pipeline = albumentations.Compose([Corruption("gaussian_noise", severity=2, p=1.0)], seed=0)
        >>> pipeline(image=numpy.zeros((32, 32, 3), "uint8"))["image"].shape
        (32, 32, 3)
    """

    class InitSchema(SeededTransform.InitSchema):
        """Types of the arguments, which albumentations checks."""

        name: str
        severity: int
        constants: Literal["cifar-c", "imagenet-c"]

    def __init__(
        self, name: str, severity: int = 3, constants: Literal["cifar-c", "imagenet-c"] = "cifar-c", p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.name, self.severity, self.constants = name, severity, constants
        self._transform = augment.corruptions.Corruption(name, severity, constants=constants)


class RandomCorruption(SeededTransform):
    """A random common corruption: :class:`augment.RandomCorruption` for albumentations' pipelines.

    Args:
        names: Published names; all 19 if not given.
        severities: Some of 1 to 5.
        constants: As for :class:`Corruption`.
        p: Probability that a call applies the transform.
    """

    class InitSchema(SeededTransform.InitSchema):
        """Types of the arguments, which albumentations checks."""

        names: Sequence[str] | None
        severities: Sequence[int]
        constants: Literal["cifar-c", "imagenet-c"]

    def __init__(
        self,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        constants: Literal["cifar-c", "imagenet-c"] = "cifar-c",
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self._transform = own = augment.corruptions.RandomCorruption(names, severities, constants=constants)
        self.names, self.severities, self.constants = list(own.names), list(own.severities), constants
