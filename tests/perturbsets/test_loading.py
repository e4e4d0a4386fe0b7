from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from perturbsets import LatentBall, load


@pytest.mark.parametrize("inside", ["", "set"])
@pytest.mark.parametrize("kind", [str, Path])
def test_sets_are_found_by_folder_and_by_run(linear_cvae: Any, tmp_path: Path, inside: str, kind: type) -> None:
    run = tmp_path / "run"
    saved = LatentBall(linear_cvae(), 1.5, bank=torch.randn(4, 2))
    saved.save(run / inside)
    loaded = load(kind(run))
    images, u = torch.rand(2, 1, 2, 3), torch.randn(2, 2)

    assert loaded.radius == 1.5
    assert torch.equal(loaded.at(images).decode(u), saved.at(images).decode(u))


def test_folders_without_a_set_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"holds no set\.json"):
            load(folder)
