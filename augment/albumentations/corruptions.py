"""The common corruptions as albumentations transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import augment.corruptions
from augment.albumentations.base import SeededTransform
from augment.transform import ImageTransform


class Corruption(SeededTransform):
    """A common corruption at a published severity: :class:`augment.Corruption` for albumentations' pipelines.

    Args:
        name: One of the 19, for example ``"fog"``.
        severity: 1 to 5.
        constants: ``"cifar-c"`` for images of about 32 pixels, ``"imagenet-c"`` for about 224.
        p: Probability with which a call changes anything.

    Raises:
        ValueError: If the name is unknown (the closest one is suggested), or the severity not 1 to 5.

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
        self,
        name: str,
        severity: int = 3,
        constants: Literal["cifar-c", "imagenet-c"] = "cifar-c",
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.name, self.severity, self.constants = name, severity, constants
        self._transform = augment.corruptions.Corruption(name, severity, constants)

    @property
    def transform(self) -> ImageTransform:
        return self._transform


class RandomCorruption(SeededTransform):
    """One of several common corruptions, at one of several severities: :class:`augment.RandomCorruption`.

    Args:
        names: Published names; all 19 if not given.
        severities: Among 1 to 5.
        constants: ``"cifar-c"`` for images of about 32 pixels, ``"imagenet-c"`` for about 224.
        p: Probability with which a call changes anything.

    Raises:
        ValueError: If nothing is given to choose from, a name is unknown (the closest one is suggested), or a
            severity not 1 to 5.
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
        self._transform = augment.corruptions.RandomCorruption(names, severities, constants)
        self.names, self.severities = list(self._transform.names), list(self._transform.severities)
        self.constants = constants

    @property
    def transform(self) -> ImageTransform:
        return self._transform
