"""torchvision transforms that draw one row of parameters per image, then change each image by its row."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform

from augment._types import Images
from augment.sample_images import is_array, is_image, is_plain_colour, like, no_image, unit_batch

Rows = Float[Tensor, "B P"]

GEOMETRIES = tuple(
    kind for name in ("Mask", "BoundingBoxes", "KeyPoints") if (kind := getattr(tv_tensors, name, None)) is not None
)


class ImageTransform(Transform):
    """A torchvision transform whose randomness is one row of parameters per image.

    It takes PIL images (L or RGB), ``uint8`` or floating-point tensors and ``tv_tensors.Image``, alone or in a nested
    sample, single or in batches, on any device; and ``uint8`` arrays of NumPy, (H, W), (H, W, C) or (N, H, W, C) with 1
    or 3 channels. Structure, type and dtype are kept. By torchvision's rules several images of one sample share their
    rows; of plain tensors and arrays only the first is an image, and none if there is a PIL image or
    ``tv_tensors.Image``. Everything else passes through; a sample without an image is refused. torchvision does not
    allow ``torch.jit.script`` for transforms other than its own.

    Args:
        moves_pixels: Whether pixels may move. If so, masks, boxes and key points are moved along if the subclass
            implements it, and refused otherwise. If not, they pass through.
        generator: For the draws; torch's global state if not given, which a data loader seeds per worker. A generator
            is copied into each worker and reseeded with the worker's seed, so that workers and epochs differ; to repeat
            the draws give the loader a generator too.
        return_parameters: Whether to return ``(sample, parameters)``, for example from worker processes.

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
        """Changes each image in [0, 1] by its row: a deterministic function of both."""

    def move(self, target: Any, rows: Rows) -> Any:
        """Moves a mask, boxes or key points with the pixels of their image; called only if pixels move."""
        raise ValueError(
            f"sample holds {type(target).__name__}, which would have to move with the pixels: if {type(self).__name__} "
            "moves none, pass moves_pixels=False"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.generator is not None:
            content = self.generator.get_state().numpy().tobytes()  # plain bytes can be sent to spawned workers too
            state["generator"] = (str(self.generator.device), content)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.generator, tuple):
            device, content = self.generator
            self.generator = torch.Generator(device)
            self.generator.set_state(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Checks the parts of a sample; torchvision's hook.

        Raises:
            ValueError: If there is a video, no image, or several plain images of which only one would be changed.
        """
        if any(isinstance(part, tv_tensors.Video) for part in flat_inputs):
            raise ValueError("sample holds a Video, which has no single draw: pass its frames as a batch of images")
        if not any(isinstance(part, tv_tensors.TVTensor) or is_image(part) for part in flat_inputs):
            raise ValueError(no_image(flat_inputs))
        if len(flat_inputs) > 1 and all(is_plain_colour(part) for part in flat_inputs):
            raise ValueError(
                f"sample holds {len(flat_inputs)} plain images, of which only the first would be changed: give them as "
                "one batch, `torch.stack(images)` or `numpy.stack(images)`, or wrap those to change, "
                "`tv_tensors.Image(image)`"
            )

    def _needs_transform_list(self, flat_inputs: list[Any]) -> list[bool]:
        """Applies torchvision's rule, for which an array is a plain tensor."""
        return super()._needs_transform_list([torch.empty(0) if is_array(part) else part for part in flat_inputs])

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws rows, one per image; torchvision's hook."""
        images = [part for part in flat_inputs if is_image(part)]
        if not images:
            return {"rows": None}
        batches = [unit_batch(image) for image in images]
        counts = sorted({len(batch) for batch in batches})
        if len(counts) > 1:
            raise ValueError(f"images of one sample share their draws and must be equally many, got {counts}")
        with torch.no_grad():
            return {"rows": self.rows(batches[0], self._generator())}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Changes one image, or moves one target, by the rows; torchvision's hook. Other inputs pass through."""
        rows = params["rows"]
        if isinstance(inpt, GEOMETRIES) and self.moves_pixels:
            if rows is None:
                raise ValueError(f"sample holds {type(inpt).__name__} but no image to move with: give both in one call")
            return self.move(inpt, rows)
        if rows is None or not is_image(inpt):
            return inpt
        batch = unit_batch(inpt)
        if len(rows) != len(batch):
            raise ValueError(f"parameters must have one row per image, got {len(rows)} for {len(batch)}")
        with torch.no_grad():
            return like(inpt, self.change(batch, rows.to(batch.device)))

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
        """Changes the images of a sample by given rows, one per image, for example those of an earlier call.

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
    """Base of transforms that are also a :class:`augment.Change`: they draw parameters, then apply them."""

    @property
    @abstractmethod
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor arguments as plain values, which pair files record."""

    @abstractmethod
    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Rows:
        """Draws parameters for `count` images, on the generator's device."""

    @abstractmethod
    def apply(self, images: Images, parameters: Rows) -> Images:
        """Changes each image by its row of parameters: a deterministic function of both."""

    def check_parameters(self, parameters: Rows) -> None:
        """Refuses parameters of other columns than `parameter_names`."""
        if parameters.ndim != 2 or parameters.shape[1] != len(self.parameter_names):
            raise ValueError(
                f"parameters must have the columns {self.parameter_names}, got shape {tuple(parameters.shape)}: "
                "`draw(len(images))` gives one row per image"
            )

    def rows(self, images: Images, generator: torch.Generator | None) -> Rows:
        return self.draw(len(images), generator=generator)

    def change(self, images: Images, rows: Rows) -> Images:
        return self.apply(images, rows)

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def _check_sizes(parts: list[Any]) -> None:
    """Refuses masks of another size than their images, whose pixels would move by other amounts."""
    sizes = {tuple(unit_batch(part).shape[-2:]) for part in parts if is_image(part)}
    for mask in (part for part in parts if isinstance(part, tv_tensors.Mask)):
        if sizes and tuple(mask.shape[-2:]) not in sizes:
            raise ValueError(
                f"masks must have the size of their image, {' or '.join(map(str, sorted(sizes)))}, got "
                f"{tuple(mask.shape[-2:])}: resize them first"
            )
