"""What the published program gives, for tests to compare with."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from augment.corruptions import CommonCorruption

DRAWS = 8


@dataclass(frozen=True)
class Published:
    """Results of the published program with the constants ``cifar-c``, images ``[B, 3, 32, 32]`` in levels 0 to 255."""

    images: Tensor
    changed: dict[str, Tensor]
    many_images: Tensor
    statistics: dict[str, dict[str, float]]

    def levels(self, corruption: CommonCorruption, images: Tensor) -> Tensor:
        """Changed images in levels, from float images and truncated as theirs are."""
        return (corruption.apply(images / 255, corruption.draw(len(images))) * 255).floor()

    def differences(self, corruption: CommonCorruption, name: str) -> tuple[float, float, float]:
        """Mean absolute difference of the results, that of doing nothing, and the share of equal values."""
        ours, theirs = self.levels(corruption, self.images), self.changed[name]
        apart, change = (ours - theirs).abs().mean(), (self.images - theirs).abs().mean()
        return float(apart), float(change), float((ours == theirs).double().mean())

    def against_statistics(self, corruption: CommonCorruption, name: str) -> tuple[float, float]:
        """Ratio of the root mean squares of the changes, and difference of their means as a share of the range."""
        change = torch.stack([self.levels(corruption, self.many_images) - self.many_images for _ in range(DRAWS)])
        theirs = self.statistics[name]
        rms, mean = float(change.square().mean().sqrt()), float(change.mean())
        return rms / theirs["rms"], (mean - theirs["mean_shift"]) / 255


@pytest.fixture(scope="session")
def published(root: Path) -> Published:
    folder = root.parent / "shared" / "data"
    if not (folder / "corruptions").is_dir():
        pytest.skip(f"needs the published program's results in {folder}")

    def planar(levels: np.ndarray) -> Tensor:
        return torch.from_numpy(levels).permute(0, 3, 1, 2).double()

    with np.load(folder / "corruptions" / "cifar_c_reference.npz", allow_pickle=False) as arrays:
        changed = {name: planar(levels) for name, levels in arrays.items()}
    with np.load(folder / "cifar10" / "cifar10_jpeg.npz", allow_pickle=False) as packed:
        files, ends = packed["test_jpeg"], packed["test_offsets"]
    decoded = [np.array(Image.open(io.BytesIO(files[ends[i] : ends[i + 1]].tobytes()))) for i in range(100, 228)]
    statistics = json.loads((folder / "corruptions" / "cifar_c_reference_statistics.json").read_text())
    return Published(changed.pop("images"), changed, planar(np.stack(decoded)), statistics)
