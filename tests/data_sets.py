"""One set of images and labels in the forms in which users have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import ImageFolder


def pictures(images: Tensor) -> list[Image.Image]:
    """Grey bytes as Pillow's images."""
    return [Image.fromarray(image[0].numpy()) for image in images]


def rows(fields: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Mappings, as they come from a table."""
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


class Files(ImageFolder):
    """A folder of class folders that gives (image, class, path), as many people change torchvision's."""

    def __init__(self, root: Path, images: Tensor, labels: Tensor) -> None:
        for number, (image, label) in enumerate(zip(pictures(images), labels.tolist(), strict=True)):
            (root / str(label)).mkdir(parents=True, exist_ok=True)
            image.save(root / str(label) / f"{number:03}.png")
        super().__init__(str(root), loader=lambda path: Image.open(path).convert("L"))

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return *super().__getitem__(index), Path(self.imgs[index][0])


def med_mnist(root: Path, images: Tensor, labels: Tensor) -> Any:
    """The package's own reader, of a file in its format."""
    import medmnist

    root.mkdir()
    arrays = {"images": images[:, 0].numpy(), "labels": labels[:, None].numpy().astype(np.uint8)}
    splits = {f"{split}_{name}": array for split in ("train", "val", "test") for name, array in arrays.items()}
    np.savez(root / "pneumoniamnist.npz", **splits)
    data = medmnist.PneumoniaMNIST("train", root=str(root))
    data.info = {**data.info, "n_samples": {"train": len(images)}}  # its length is checked against the published one
    return data


class Batches:
    """A data set that gives whole batches, as mappings."""

    def __init__(self, **fields: Tensor) -> None:
        self.fields = fields

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def batch(self, indices: Tensor) -> dict[str, Any]:
        return {"names": ["a"] * len(indices)} | {name: part[indices] for name, part in self.fields.items()}


class Texts(Dataset[tuple[Any, ...]]):
    """A name, or nothing, before and behind what another data set gives."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return f"{index}.png", *self.data[index], None
