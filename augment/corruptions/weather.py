"""Weather as transforms: fog, frost, snow and spatter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms.v2.functional import pil_to_tensor

from augment import functional
from augment._types import Parameters
from augment.corruptions.base import CommonCorruption, Range
from augment.functional.frost import Photograph


class Fog(CommonCorruption):
    """Mixes each image with a plasma fractal: :func:`augment.functional.fog`.

    Args:
        amount: Density of the fog; it and the decay are a number, or (low, high).
        decay: The higher, the smoother.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.fog)

    def __init__(self, amount: Range = 0.75, decay: Range = 2.5, **options: Any) -> None:
        super().__init__({"amount": amount, "decay": decay}, **options)


class Frost(CommonCorruption):
    """Lays ice over each image: :func:`augment.functional.frost`.

    Args:
        weight: Share of the image; it and the amount are a number, or (low, high).
        amount: Share of the frost.
        folder: Folder of photographs of frost, which are read at the first call; of each image a random part is shown.
            A texture is made if not given.
        scale: Size of the photographs as a share of what their files hold.
        options: As for :class:`augment.corruptions.CommonCorruption`.

    Raises:
        ValueError: If the folder is missing or holds no photograph, or the scale is not above 0.
    """

    function = staticmethod(functional.frost)

    def __init__(
        self,
        weight: Range = 0.9,
        amount: Range = 0.4,
        *,
        folder: str | None = None,
        scale: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__({"weight": weight, "amount": amount}, **options)
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be finite and above 0, got {scale}: 1 keeps the photographs' size")
        self.folder, self.scale = folder, scale
        self._files = [] if folder is None else photographs_in(folder)
        self._photographs: list[Photograph] = []

    @property
    def settings(self) -> dict[str, Any]:
        return {**self._settings, "folder": self.folder, "scale": self.scale}

    def arguments(self, parameters: Parameters) -> dict[str, Any]:
        if self._files and not self._photographs:
            self._photographs = [read(file, self.scale) for file in self._files]
        return {**super().arguments(parameters), "photographs": self._photographs or None}


def photographs_in(folder: str) -> list[Path]:
    """The image files of a folder, by name.

    Raises:
        ValueError: If the folder is missing, or holds none.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"folder must be a folder of photographs of frost, got {folder!r}, which is none")
    known = Image.registered_extensions()
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in known)
    if not files:
        raise ValueError(f"folder must hold photographs of frost, found none in {folder!r}: put in PNG or JPEG files")
    return files


def read(file: Path, scale: float) -> Photograph:
    """A photograph in [0, 1], scaled without smoothing, as the published program does: ice stays crisp."""
    with Image.open(file) as picture:
        photograph = pil_to_tensor(picture.convert("RGB")).float() / 255
    if scale == 1:
        return photograph
    return interpolate(photograph[None], scale_factor=scale, mode="bilinear", antialias=False)[0]


class Snow(CommonCorruption):
    """Lets flakes drive over each image: :func:`augment.functional.snow`.

    Args:
        mean: Mean of the grey layer that the flakes are cut from; it and the rest are a number, or (low, high).
        deviation: Standard deviation of the layer.
        zoom: Size of the flakes in pixels, at least 1.
        threshold: Where the layer is lower there is no flake.
        radius: Half length of the streaks in pixels.
        sigma: Standard deviation along the streaks in pixels.
        weight: Share of the image in its own whitening.
        angle: Direction of the streaks in degrees; -90 points up.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.snow)

    def __init__(
        self,
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


class Spatter(CommonCorruption):
    """Puts drops of water or mud on each image: :func:`augment.functional.spatter`.

    Args:
        mean: Mean of the noise that the drops are cut from; it and the rest are a number, or (low, high).
        deviation: Standard deviation of the noise.
        sigma: Size of the drops in pixels.
        threshold: Where the noise is lower there is no drop.
        strength: Of water its highest value; of mud the width of its rim in pixels.
        mud: 1 for mud, 0 for water.
        options: As for :class:`augment.corruptions.CommonCorruption`.
    """

    function = staticmethod(functional.spatter)

    def __init__(
        self,
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
