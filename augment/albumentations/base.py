"""A torchvision transform of ours as an albumentations transform that draws nothing but a seed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from albumentations.core.transforms_interface import BaseTransformInitSchema, ImageOnlyTransform

from augment.sample_images import unit_batch
from augment.transform import ImageTransform

TARGETS = ("mask", "masks", "mask3d", "masks3d", "bboxes", "keypoints")


class SeededTransform(ImageOnlyTransform):
    """Changes images by one of our transforms, from a seed drawn from albumentations' own random state.

    Takes ``uint8`` images and floating-point ones in [0, 1]; grey ``(H, W)`` or ``(H, W, 1)``, colour ``(H, W, 3)``.
    As is albumentations' rule, all images of one call share their draw; they are changed as one batch. Other targets
    pass through, but are refused where pixels move. A replay stores the seed.

    Args:
        p: Probability with which a call changes anything.
    """

    class InitSchema(BaseTransformInitSchema):
        """Types of the arguments, which albumentations checks."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)
        self._others: list[str] = []

    @property
    @abstractmethod
    def transform(self) -> ImageTransform:
        """What changes the images."""

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        """Notes other names of targets, which albumentations forgets where they are no images; its hook."""
        super().add_targets(additional_targets)
        self._others += [name for name, kind in additional_targets.items() if kind in TARGETS]

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
        """Changes a sample, or refuses it; albumentations' hook.

        Raises:
            ValueError: If pixels move and the sample holds what would have to move with them.
        """
        left = [name for name in (*TARGETS, *self._others) if kwargs.get(name) is not None]
        if left and self.transform.moves_pixels:
            raise ValueError(
                f"sample holds {', '.join(left)}, which would have to move with the pixels that "
                f"{type(self).__name__} moves: leave them out, or this transform"
            )
        changed: dict[str, Any] = super().apply_with_params(params, *args, **kwargs)
        return changed
