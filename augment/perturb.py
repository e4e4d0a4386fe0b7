"""Draws from a perturbation set as a torchvision transform."""

from __future__ import annotations

from typing import Any

import torch
import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform

from augment._types import Offsets
from augment.perturbations import Perturbations

GEOMETRIES = tuple(
    kind for name in ("Mask", "BoundingBoxes", "KeyPoints") if (kind := getattr(tv_tensors, name, None)) is not None
)
MODES = ("L", "RGB")


class Perturb(Transform):
    """Replaces images by draws from a perturbation set; one draw per image, also in a batch.

    Takes what torchvision's own transforms take: PIL images (L or RGB), ``uint8`` or floating-point tensors,
    ``tv_tensors.Image``, alone or anywhere in a nested sample, single or in batches (also after ``default_collate``).
    Structure, type and dtype stay as they were. Several images in one sample share their draws, as is torchvision's
    rule. The set is held outside of the module tree: ``train()`` on a surrounding module does not wake its network.

    Args:
        perturbations: The set: anything that can be bound to images, draw offsets and decode them.
        moves_pixels: Whether the set may move pixels. Then masks, boxes and key points cannot stay as they are and
            are refused; otherwise they pass through.
        generator: For the draws; torch's global state if not given, which a data loader seeds per worker. A
            generator of one's own is copied into each worker and joined with the seed that the loader gives it, so
            that workers and epochs differ; to repeat the draws give the loader a generator too.
        return_offsets: Whether to return ``(sample, offsets)``, so that draws survive worker processes.

    Attributes:
        offsets: Offsets of the last call, one row per image.

    Raises:
        TypeError: If ``perturbations`` cannot be bound to images.

    Example:
        >>> class Darker:  # a set of one's own: at, sample, decode
        ...     def at(self, images):
        ...         self.images = images
        ...         return self
        ...     def sample(self, *, generator=None):
        ...         return torch.rand(len(self.images), 1, generator=generator)
        ...     def decode(self, offsets):
        ...         return self.images * offsets[:, :, None, None]
        >>> image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
        >>> changed = Perturb(Darker())({"image": image, "label": 7})
        >>> changed["image"].dtype, changed["label"]
        (torch.uint8, 7)
    """

    offsets: Offsets | None

    def __init__(
        self,
        perturbations: Perturbations,
        *,
        moves_pixels: bool = True,
        generator: torch.Generator | None = None,
        return_offsets: bool = False,
    ) -> None:
        super().__init__()
        if not hasattr(perturbations, "at"):
            raise TypeError(
                f"perturbations must have a method `at(images)`, got {type(perturbations).__name__}: "
                "`perturbsets.load(path)` gives a learned set"
            )
        self._held = (perturbations,)  # in a tuple, which nn.Module does not register
        self.moves_pixels, self.return_offsets = moves_pixels, return_offsets
        self.generator = generator
        self.offsets = None

    @property
    def perturbations(self) -> Perturbations:
        """The set."""
        return self._held[0]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.generator is not None:
            words = self.generator.get_state().numpy().tobytes()  # plain bytes travel to spawned workers too
            state["generator"] = (str(self.generator.device), words)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.generator, tuple):
            device, words = self.generator
            self.generator = torch.Generator(device)
            self.generator.set_state(torch.frombuffer(bytearray(words), dtype=torch.uint8))

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuses what cannot be changed rightly.

        Raises:
            ValueError: If there is a video, or a geometry although pixels move.
        """
        if any(isinstance(part, tv_tensors.Video) for part in flat_inputs):
            raise ValueError("sample holds a Video, which has no single draw: pass its frames as a batch of images")
        if self.moves_pixels:
            found = sorted({type(part).__name__ for part in flat_inputs if isinstance(part, GEOMETRIES)})
            if found:
                raise ValueError(
                    f"sample holds {', '.join(found)}, which would have to move with the pixels: if the set moves "
                    "none, say Perturb(..., moves_pixels=False)"
                )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws offsets, one row per image; torchvision's hook."""
        self.check_inputs(flat_inputs)
        wanted = self._needs_transform_list(flat_inputs)
        images = [part for part, is_image in zip(flat_inputs, wanted, strict=True) if is_image and _is_image(part)]
        if not images:
            return {"offsets": None}
        batches = [_unit_batch(image) for image in images]
        counts = sorted({len(batch) for batch in batches})
        if len(counts) > 1:
            raise ValueError(f"images of one sample share their draws and must be equally many, got {counts}")
        with torch.no_grad():
            return {"offsets": self.perturbations.at(batches[0]).sample(generator=self._generator())}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Decodes the offsets for one input; torchvision's hook. What is no image passes through."""
        if params["offsets"] is None or not _is_image(inpt):
            return inpt
        batch = _unit_batch(inpt)
        if len(params["offsets"]) != len(batch):
            raise ValueError(f"offsets must have one row per image, got {len(params['offsets'])} for {len(batch)}")
        with torch.no_grad():
            decoded = self.perturbations.at(batch).decode(params["offsets"].to(batch))
        return _like(inpt, decoded)

    def forward(self, *inputs: Any) -> Any:
        """Changes the images of a sample."""
        flat, spec = tree_flatten(inputs if len(inputs) > 1 else inputs[0])
        params = self.make_params(flat)
        self.offsets = params["offsets"]
        changed = self._apply(flat, spec, params)
        return (changed, self.offsets) if self.return_offsets else changed

    def replay(self, sample: Any, offsets: Offsets) -> Any:
        """Changes the images of a sample by given offsets, as drawn in an earlier call.

        Args:
            sample: A sample as for a call.
            offsets: One row per image.

        Returns:
            The changed sample.

        Raises:
            ValueError: If the rows do not match the images.
        """
        flat, spec = tree_flatten(sample)
        self.check_inputs(flat)
        return self._apply(flat, spec, {"offsets": offsets})

    def _apply(self, flat: list[Any], spec: Any, params: dict[str, Any]) -> Any:
        wanted = self._needs_transform_list(flat)
        parts = [self.transform(part, params) if use else part for part, use in zip(flat, wanted, strict=True)]
        return tree_unflatten(parts, spec)

    def _generator(self) -> torch.Generator | None:
        worker = torch.utils.data.get_worker_info()
        if self.generator is not None and worker is not None and getattr(self, "_worker", None) != worker.seed:
            self.generator.manual_seed((self.generator.initial_seed() + worker.seed) % (1 << 63))
            self._worker = worker.seed
        return self.generator

    def extra_repr(self) -> str:
        """The settings."""
        return f"{type(self.perturbations).__name__}, moves_pixels={self.moves_pixels}"


def _is_image(part: Any) -> bool:
    return isinstance(part, Image.Image | tv_tensors.Image) or (
        isinstance(part, Tensor) and not isinstance(part, tv_tensors.TVTensor)
    )


def _unit_batch(image: Any) -> Tensor:
    """Any image or batch of images as floats in [0, 1], ``[B, C, H, W]``."""
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            raise ValueError(f"PIL images must have mode L or RGB, got {image.mode}: use image.convert('RGB')")
        image = F.pil_to_tensor(image)
    image = image.as_subclass(Tensor)
    if image.ndim < 3:
        raise ValueError(f"images must be [..., C, H, W], got {list(image.shape)}")
    batch = image.reshape(-1, *image.shape[-3:])
    if batch.dtype == torch.uint8:
        return batch.float() / 255
    if not batch.is_floating_point():
        raise ValueError(f"images must be uint8 or floating point, got {batch.dtype}: scale them to one of these")
    if batch.numel():
        low, high = torch.aminmax(batch)
        if not (float(low) >= 0 and float(high) <= 1):  # NaN fails too
            raise ValueError(
                f"images must lie in [0, 1], got {float(low):.4g} to {float(high):.4g}: put Perturb before a Normalize"
            )
    return batch if batch.dtype == torch.float64 else batch.float()


def _like(image: Any, decoded: Tensor) -> Any:
    """Decoded images in the type, dtype and shape of the input."""
    if isinstance(image, Image.Image):
        return F.to_pil_image((decoded[0].clamp(0, 1) * 255).round().byte(), mode=image.mode)
    if image.dtype == torch.uint8:
        decoded = (decoded.clamp(0, 1) * 255).round()
    restored = decoded.to(image.dtype).reshape(image.shape)
    return tv_tensors.wrap(restored, like=image) if isinstance(image, tv_tensors.TVTensor) else restored
