"""Small photographs of CIFAR-10, through torchvision."""

from dataclasses import dataclass
from typing import ClassVar

from augment.sources.torchvision_images import TorchvisionImages


@dataclass(frozen=True, eq=False)
class CIFAR10(TorchvisionImages):
    """50,000 training and 10,000 test images of 3×32×32; read, or downloaded once, when first asked for.

    Args:
        split: ``"train"``, ``"validation"`` (the last of the training images) or ``"test"``.
        root: Folder of the files, as torchvision keeps them: ``root/cifar-10-batches-py``, or the packed file. They
            are pickles, which torchvision reads only if their checksums are those of the published ones.
        held: Number of training images that are kept for validation.

    Raises:
        ValueError: If the split is unknown, the number held is outside of its range, or the split would be empty.
        OSError: When images are first asked for, if the files are neither there nor to be had.

    References:
        Krizhevsky, *Learning multiple layers of features from tiny images*, 2009.
    """

    name: ClassVar[str] = "cifar10"
    title: ClassVar[str] = "CIFAR-10"
    classes: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    training: ClassVar[int] = 50_000
    tests: ClassVar[int] = 10_000
    side: ClassVar[int] = 32
    files: ClassVar[str] = "cifar-10-batches-py"

    root: str = "data/cifar10"
