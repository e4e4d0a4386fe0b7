"""Handwritten digits of MNIST, through torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from augment.sources.torchvision_images import TorchvisionImages


@dataclass(frozen=True, eq=False)
class MNIST(TorchvisionImages):
    """60,000 training and 10,000 test images of 28×28 pixels; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/MNIST/raw``.
        held: Number of training images that are kept for validation.
        size: Height and width of images; those above 28 frame the image in zeros, centred (an odd pixel goes after).

    Raises:
        ValueError: If the split is unknown, the number held is outside of its range, the split would be empty, or
            `size` is below 28.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, 1998.
    """

    name: ClassVar[str] = "mnist"
    title: ClassVar[str] = "MNIST"
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    training: ClassVar[int] = 60_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 28
    files: ClassVar[str] = "MNIST/raw"

    root: str = "data/mnist"
    size: int = 28
