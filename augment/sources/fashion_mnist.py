"""Pieces of clothing of Fashion-MNIST, through torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from augment.sources.torchvision_images import TorchvisionImages


@dataclass(frozen=True, eq=False)
class FashionMNIST(TorchvisionImages):
    """60,000 training and 10,000 test images of 28×28 pixels; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/FashionMNIST/raw``.
        held: Number of training images that are kept for validation.
        size: Height and width of images; those above 28 frame the image in zeros, centred (an odd pixel goes after).

    Raises:
        ValueError: As for :class:`MNIST`.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        Xiao, Rasul and Vollgraf, *Fashion-MNIST* (arXiv 1708.07747).
    """

    name: ClassVar[str] = "fashion-mnist"
    title: ClassVar[str] = "Fashion-MNIST"
    classes: ClassVar[tuple[str, ...]] = (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    training: ClassVar[int] = 60_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 28
    files: ClassVar[str] = "FashionMNIST/raw"

    root: str = "data/fashion-mnist"
    size: int = 28
