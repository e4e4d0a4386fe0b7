"""Transforms that draw one row of numbers per image, then change each image by its row."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torchvision.transforms.v2.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform

from augment._types import Images
from augment.functional.images import check_type
from augment.value_range import in_range

Rows = Float[Tensor, "B P"]

GEOMETRIES = tuple(
    kind for name in ("Mask", "BoundingBoxes", "KeyPoints") if (kind := getattr(tv_tensors, name, None)) is not None
)
MODES = ("L", "RGB")


class ImageTransform(Transform):
    """A torchvision transform whose randomness is one row of numbers per image.

    Takes what torchvision's own transforms take: PIL images (L or RGB), ``uint8`` or floating-point tensors,
    ``tv_tensors.Image``, alone or anywhere in a nested sample, single or in batches (also after ``default_collate``,
    also on a GPU). Structure, type and dtype stay as they were. Several images in one sample share their rows, as is
    torchvision's rule. torchvision refuses ``torch.jit.script`` for every transform that is not its own.

    Args:
        moves_pixels: Whether pixels may move. Then masks, boxes and key points cannot stay as they are: they are moved
            along if the subclass knows how, and refused otherwise. If not, they pass through.
        generator: For the draws; torch's global state if not given, which a data loader seeds per worker. A
            generator of one's own is copied into each worker and joined with the seed that the loader gives it, so
            that workers and epochs differ; to repeat the draws give the loader a generator too.
        return_parameters: Whether to return ``(sample, parameters)``, so that draws survive worker processes.

    Attributes:
        parameters: Rows of the last call, one per image.
    """

    parameters: Rows | None

    def __init__(
        self, *, moves_pixels: bool, generator: torch.Generator | None = None, return_parameters: bool = False
    ) -> None:
        super().__init__()
        self.moves_pixels, self.return_parameters = moves_pixels, return_parameters
        self.generator = generator
        self.parameters = None

    @abstractmethod
    def rows(self, images: Images, generator: torch.Generator | None) -> Rows:
        """Draws one row per image."""

    @abstractmethod
    def change(self, images: Images, rows: Rows) -> Images:
        """Changes each image in [0, 1] by its row; reads nothing else and draws nothing."""

    def move(self, target: Any, rows: Rows) -> Any:
        """Moves a mask, boxes or key points with the pixels of their image; called only where pixels move."""
        raise ValueError(
            f"sample holds {type(target).__name__}, which would have to move with the pixels: if {type(self).__name__} "
            "moves none, say moves_pixels=False"
        )

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
            ValueError: If there is a video.
        """
        if any(isinstance(part, tv_tensors.Video) for part in flat_inputs):
            raise ValueError("sample holds a Video, which has no single draw: pass its frames as a batch of images")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws rows, one per image; torchvision's hook."""
        images = [part for part in flat_inputs if _is_image(part)]
        if not images:
            return {"rows": None}
        batches = [unit_batch(image) for image in images]
        counts = sorted({len(batch) for batch in batches})
        if len(counts) > 1:
            raise ValueError(f"images of one sample share their draws and must be equally many, got {counts}")
        with torch.no_grad():
            return {"rows": self.rows(batches[0], self._generator())}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Changes one input by the rows; torchvision's hook. What is neither image nor geometry passes through."""
        rows = params["rows"]
        if isinstance(inpt, GEOMETRIES) and self.moves_pixels:
            if rows is None:
                raise ValueError(f"sample holds {type(inpt).__name__} but no image to move with: give both in one call")
            return self.move(inpt, rows)
        if rows is None or not _is_image(inpt):
            return inpt
        batch = unit_batch(inpt)
        if len(rows) != len(batch):
            raise ValueError(f"parameters must have one row per image, got {len(rows)} for {len(batch)}")
        with torch.no_grad():
            return _like(inpt, self.change(batch, rows.to(batch.device)))

    def forward(self, *inputs: Any) -> Any:
        """Changes the images of a sample."""
        flat, spec = tree_flatten(inputs if len(inputs) > 1 else inputs[0])
        self.check_inputs(flat)
        wanted = self._needs_transform_list(flat)
        params = self.make_params([part for part, use in zip(flat, wanted, strict=True) if use])
        self.parameters = params["rows"]
        changed = self._apply(flat, spec, params)
        return (changed, self.parameters) if self.return_parameters else changed

    def replay(self, sample: Any, parameters: Rows) -> Any:
        """Changes the images of a sample by given rows, as drawn in an earlier call.

        Args:
            sample: A sample as for a call.
            parameters: One row per image.

        Returns:
            The changed sample.

        Raises:
            ValueError: If the rows do not match the images.
        """
        flat, spec = tree_flatten(sample)
        self.check_inputs(flat)
        return self._apply(flat, spec, {"rows": parameters})

    def _apply(self, flat: list[Any], spec: Any, params: dict[str, Any]) -> Any:
        wanted = self._needs_transform_list(flat)
        if self.moves_pixels:
            _check_sizes([part for part, use in zip(flat, wanted, strict=True) if use])
        parts = [self.transform(part, params) if use else part for part, use in zip(flat, wanted, strict=True)]
        return tree_unflatten(parts, spec)

    def _generator(self) -> torch.Generator | None:
        worker = torch.utils.data.get_worker_info()
        if self.generator is not None and worker is not None and getattr(self, "_worker", None) != worker.seed:
            self.generator.manual_seed((self.generator.initial_seed() + worker.seed) % (1 << 63))
            self._worker = worker.seed
        return self.generator


class ChangeTransform(ImageTransform):
    """A :class:`augment.Change` as a transform: subclasses say how to draw parameters and how to apply them."""

    @property
    @abstractmethod
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor arguments as plain values: what a pair file records, and what makes the change again."""

    @abstractmethod
    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Rows:
        """Draws parameters for `count` images, on the generator's device."""

    @abstractmethod
    def apply(self, images: Images, parameters: Rows) -> Images:
        """Changes each image by its row of parameters; reads nothing else and draws nothing."""

    def rows(self, images: Images, generator: torch.Generator | None) -> Rows:
        return self.draw(len(images), generator=generator)

    def change(self, images: Images, rows: Rows) -> Images:
        return self.apply(images, rows)

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def _is_image(part: Any) -> bool:
    return isinstance(part, Image.Image | tv_tensors.Image) or (
        isinstance(part, Tensor) and not isinstance(part, tv_tensors.TVTensor)
    )


def _check_sizes(parts: list[Any]) -> None:
    """Refuses masks of another size than the images that they lie on: pixels would move by other amounts there."""
    sizes = {tuple(F.get_size(part)) for part in parts if _is_image(part)}
    for mask in (part for part in parts if isinstance(part, tv_tensors.Mask)):
        if sizes and tuple(mask.shape[-2:]) not in sizes:
            raise ValueError(
                f"masks must have the size of their image, {' or '.join(map(str, sorted(sizes)))}, got "
                f"{tuple(mask.shape[-2:])}: resize them first"
            )


def unit_batch(image: Any) -> Tensor:
    """Any image or batch of images as floats in [0, 1], ``[B, C, H, W]``."""
    if isinstance(image, Image.Image):
        if image.mode not in MODES:
            raise ValueError(f"PIL images must have mode L or RGB, got {image.mode}: use image.convert('RGB')")
        image = F.pil_to_tensor(image)
    image = image.as_subclass(Tensor)
    if image.ndim < 3:
        raise ValueError(f"images must be [..., C, H, W], got {list(image.shape)}")
    batch = image.reshape(-1, *image.shape[-3:])
    check_type(batch)
    if batch.dtype == torch.uint8:
        return batch.float() / 255
    batch = in_range(batch, normalized="put this transform before a Normalize")
    return batch if batch.dtype == torch.float64 else batch.float()


def _like(image: Any, decoded: Tensor) -> Any:
    """Decoded images in the type, dtype and shape of the input."""
    if isinstance(image, Image.Image):
        return F.to_pil_image((decoded[0].clamp(0, 1) * 255).round().byte(), mode=image.mode)
    if image.dtype == torch.uint8:
        decoded = (decoded.clamp(0, 1) * 255).round()
    restored = decoded.to(image.dtype).reshape(image.shape)
    return tv_tensors.wrap(restored, like=image) if isinstance(image, tv_tensors.TVTensor) else restored
