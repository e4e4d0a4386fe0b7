"""Pictures of attacks."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch.testing import assert_close

from perturbsets.report.findings import verdicts
from perturbsets.report.pictures import attack_grids


def made() -> dict[str, torch.Tensor]:
    clean = torch.rand(3, 1, 12, 12) * 0.5 + 0.2
    change = torch.zeros_like(clean)
    change[0, 0, 3, 4] = 0.04
    return {
        "clean": clean,
        "labels": torch.tensor([0, 1, 1]),
        "step/images": clean + change,
        "step/predictions": torch.tensor([1, 1, 1]),
    }


def test_each_attack_shows_clean_change_and_changed() -> None:
    given = made()
    (grid,) = attack_grids(given, ["step"], ["cat", "dog"], {"step": "pixels: OneStep()"})
    clean, change, changed = grid.rows

    assert grid.name == "attack-step"
    assert list(clean.captions) == ["cat", "dog", "dog"]
    assert list(changed.captions) == ["dog", "dog", "dog"]
    assert_close(change.images[0, 0, 3, 4], torch.tensor(0.9))  # ten times 0.04 above grey
    assert_close(change.images[1], torch.full((1, 12, 12), 0.5))
    assert "pixels: OneStep(). Misclassified: 1 of these 3 images." in grid.caption
    assert "at most 0.04 per pixel" in grid.caption
    assert [caption for part in grid.tiles(changed) for _, caption in part] == ["dog", "dog", "dog"]


def test_captions_have_room_in_the_picture_file() -> None:
    (grid,) = attack_grids(made(), ["step"], ["cat", "dog"], {})
    picture = Image.open(io.BytesIO(grid.png())).convert("L")
    bare = [grid.rows[0].__class__(row.label, row.images) for row in grid.rows]
    without = Image.open(io.BytesIO(type(grid)(**{**vars(grid), "rows": bare}).png()))

    assert picture.height > without.height


def test_no_images_make_no_grid() -> None:
    none = {"clean": torch.rand(0, 1, 4, 4), "labels": torch.zeros(0, dtype=torch.long)}
    assert attack_grids(none, ["step"], ["a"], {}) == []


def test_verdicts_count_what_failed() -> None:
    checks = [{"passed": True}, {"passed": False}, {"passed": None}, {"passed": False}]
    audits = {"rows": {"plain": {"step": {"checks": checks}}}}

    assert verdicts(["plain", "robust"], audits) == {"plain": {"step": 2}, "robust": {}}
    assert verdicts(["plain"], None) == {"plain": {}}
