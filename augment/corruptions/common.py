"""The 19 common corruptions as transforms: noise, blur, weather and digital.

Settings are those of the functions in :mod:`augment.functional`: each is one number, or (low, high), from which each
image draws uniformly. Defaults are about those of severity 3 for images of about 32 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import pil_to_tensor

from augment import functional
from augment._types import Parameters
from augment.corruptions.base import CommonCorruption, Range, planes
from augment.functional.frost import Photograph


class GaussianNoise(CommonCorruption, function=functional.gaussian_noise):
    """Gaussian noise for each value: :func:`augment.functional.gaussian_noise`."""

    def __init__(self, scale: Range = 0.08, **options: Any) -> None:
        super().__init__({"scale": scale}, **options)


class ImpulseNoise(CommonCorruption, function=functional.impulse_noise):
    """Salt-and-pepper noise: :func:`augment.functional.impulse_noise`."""

    def __init__(self, amount: Range = 0.03, **options: Any) -> None:
        super().__init__({"amount": amount}, **options)


class ShotNoise(CommonCorruption, function=functional.shot_noise):
    """Poisson noise of counted photons: :func:`augment.functional.shot_noise`."""

    def __init__(self, peak: Range = 100.0, **options: Any) -> None:
        super().__init__({"peak": peak}, **options)


class SpeckleNoise(CommonCorruption, function=functional.speckle_noise):
    """Gaussian noise in proportion to each value: :func:`augment.functional.speckle_noise`."""

    def __init__(self, scale: Range = 0.12, **options: Any) -> None:
        super().__init__({"scale": scale}, **options)


class DefocusBlur(CommonCorruption, function=functional.defocus_blur):
    """Blur by a disk, like a lens out of focus: :func:`augment.functional.defocus_blur`."""

    def __init__(self, radius: Range = 0.5, *, sigma: Range = 0.6, **options: Any) -> None:
        super().__init__({"radius": radius, "sigma": sigma}, **options)


class GaussianBlur(CommonCorruption, function=functional.gaussian_blur):
    """Gaussian blur: :func:`augment.functional.gaussian_blur`."""

    def __init__(self, sigma: Range = 0.7, **options: Any) -> None:
        super().__init__({"sigma": sigma}, **options)


class GlassBlur(CommonCorruption, function=functional.glass_blur):
    """Random displacements of pixels between two blurs: :func:`augment.functional.glass_blur`."""

    def __init__(self, sigma: Range = 0.4, *, distance: int = 1, passes: int = 1, **options: Any) -> None:
        super().__init__({"sigma": sigma, "distance": distance, "passes": passes}, **options)


class MotionBlur(CommonCorruption, function=functional.motion_blur):
    """Blur along a line: :func:`augment.functional.motion_blur`."""

    def __init__(self, radius: int = 6, *, sigma: Range = 2.0, angle: Range = (-45.0, 45.0), **options: Any) -> None:
        super().__init__({"radius": radius, "sigma": sigma, "angle": angle}, **options)


class ZoomBlur(CommonCorruption, function=functional.zoom_blur):
    """Mean of an image and its zooms: :func:`augment.functional.zoom_blur`."""

    def __init__(self, largest: Range = 1.16, *, step: float = 0.01, **options: Any) -> None:
        super().__init__({"largest": largest, "step": step}, **options)


class Fog(CommonCorruption, function=functional.fog):
    """Fog from a plasma fractal: :func:`augment.functional.fog`."""

    def __init__(self, amount: Range = 0.75, *, decay: Range = 2.5, **options: Any) -> None:
        super().__init__({"amount": amount, "decay": decay}, **options)


class Frost(CommonCorruption, function=functional.frost):
    """Ice crystals, or photographs of frost: :func:`augment.functional.frost`.

    Args:
        weight: Weight of the image.
        amount: Weight of the frost.
        folder: Folder of photographs of frost, of which each image gets a random crop; a texture of crystals is made if
            not given. The files are read at the first call.
        scale: Factor by which photographs are resized.
        options: As for :class:`augment.corruptions.CommonCorruption`.

    Raises:
        ValueError: If the folder is missing or holds no photograph, or the scale is not above 0.
    """

    def __init__(
        self, weight: Range = 0.9, *, amount: Range = 0.4, folder: str | None = None, scale: float = 1.0, **options: Any
    ) -> None:
        super().__init__({"weight": weight, "amount": amount}, **options)
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be finite and above 0, got {scale}: 1 keeps the photographs' size")
        self.folder, self.scale = folder, scale
        self._files = [] if folder is None else _photographs_in(folder)
        self._photographs: list[Photograph] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {**self._settings, "folder": self.folder, "scale": self.scale}

    def arguments(self, parameters: Parameters) -> dict[str, Any]:
        if self._files and not self._photographs:
            self._photographs = [_read(file, self.scale) for file in self._files]
        return {**super().arguments(parameters), "photographs": self._photographs or None}


def _photographs_in(folder: str) -> list[Path]:
    if not Path(folder).is_dir():
        raise ValueError(f"folder must be a folder of photographs of frost, got {folder!r}, which is none")
    known = Image.registered_extensions()
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in known)
    if not files:
        raise ValueError(f"folder must hold photographs of frost, found none in {folder!r}: put in PNG or JPEG files")
    return files


def _read(file: Path, scale: float) -> Photograph:
    """A photograph in [0, 1], resized without antialiasing like in the published program, which keeps ice sharp."""
    with Image.open(file) as picture:
        photograph = pil_to_tensor(picture.convert("RGB")).float() / 255
    if scale == 1:
        return photograph
    return interpolate(photograph[None], scale_factor=scale, mode="bilinear", antialias=False)[0]


class Snow(CommonCorruption, function=functional.snow):
    """Streaks of snowflakes over a whitened image: :func:`augment.functional.snow`."""

    def __init__(
        self,
        *,
        mean: Range = 0.15,
        deviation: Range = 0.3,
        zoom: Range = 1.75,
        threshold: Range = 0.55,
        radius: Range = 10.0,
        sigma: Range = 4.0,
        weight: Range = 0.9,
        angle: Range = (-135.0, -45.0),
        **options: Any,
    ) -> None:
        layer = {"mean": mean, "deviation": deviation, "zoom": zoom, "threshold": threshold}
        streaks = {"radius": radius, "sigma": sigma, "weight": weight, "angle": angle}
        super().__init__(layer | streaks, **options)


class Spatter(CommonCorruption, function=functional.spatter):
    """Drops of water or mud on the lens: :func:`augment.functional.spatter`."""

    def __init__(
        self,
        *,
        mean: Range = 0.65,
        deviation: Range = 0.3,
        sigma: Range = 1.0,
        threshold: Range = 0.69,
        strength: Range = 0.5,
        mud: float = 0.0,
        **options: Any,
    ) -> None:
        noise = {"mean": mean, "deviation": deviation, "sigma": sigma, "threshold": threshold}
        super().__init__(noise | {"strength": strength, "mud": mud}, **options)


class Brightness(CommonCorruption, function=functional.brightness):
    """A shift of the value of each pixel: :func:`augment.functional.brightness`."""

    def __init__(self, shift: Range = 0.15, **options: Any) -> None:
        super().__init__({"shift": shift}, **options)


class Contrast(CommonCorruption, function=functional.contrast):
    """Lower or higher contrast: :func:`augment.functional.contrast`."""

    def __init__(self, factor: Range = 0.4, **options: Any) -> None:
        super().__init__({"factor": factor}, **options)


class Saturate(CommonCorruption, function=functional.saturate):
    """Lower or higher saturation: :func:`augment.functional.saturate`."""

    def __init__(self, factor: Range = 1.5, *, shift: Range = 0.0, **options: Any) -> None:
        super().__init__({"factor": factor, "shift": shift}, **options)


class JpegCompression(CommonCorruption, function=functional.jpeg_compression):
    """JPEG compression; of a quality drawn from (low, high) the whole part counts.

    The function is :func:`augment.functional.jpeg_compression`.
    """

    def __init__(self, quality: Range = 58, **options: Any) -> None:
        super().__init__({"quality": quality}, **options)


class Pixelate(CommonCorruption, function=functional.pixelate):
    """A lower resolution: :func:`augment.functional.pixelate`."""

    def __init__(self, size: Range = 0.85, **options: Any) -> None:
        super().__init__({"size": size}, **options)


class ElasticTransform(CommonCorruption, function=functional.elastic_transform):
    """A random affine map and smooth displacements: :func:`augment.functional.elastic_transform`.

    Masks are transformed with their images; boxes and key points are refused.
    """

    def __init__(self, displacement: Range = 2.56, *, sigma: Range = 1.92, tilt: Range = 1.92, **options: Any) -> None:
        super().__init__({"displacement": displacement, "sigma": sigma, "tilt": tilt}, moves_pixels=True, **options)

    def move(self, target: Any, rows: Parameters) -> Any:
        """Transforms masks, ``[..., H, W]`` of one image or ``[B, ..., H, W]`` of several, with their images.

        Raises:
            ValueError: If the target is no mask, or the masks do not match the rows.
        """
        if not isinstance(target, tv_tensors.Mask):
            raise ValueError(
                f"sample holds {type(target).__name__}, which cannot follow an elastic change, as it bends edges and "
                "displaces each pixel by itself: pass masks, and take boxes or points from what they become (for "
                "example by `torchvision.ops.masks_to_boxes`)"
            )
        layers = planes(target.as_subclass(Tensor), len(rows))
        moved = functional.elastic_move(layers, **self.arguments(rows.to(layers.device)))
        return tv_tensors.wrap(moved.view(target.shape), like=target)
