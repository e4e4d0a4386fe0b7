from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment import ChangedPairs, Patches, Portion, Scenes, SpatialChange, contact_sheet, write_pairs
from augment.store.contact_sheet import MARGIN, TITLE
from tests.augment.bad_files import picture


def test_a_sheet_shows_stored_images_split_by_split(tmp_path: Path) -> None:
    sources = {split: Portion(Patches(split), 0, 40) for split in ("train", "test")}
    written = write_pairs(tmp_path / "p.h5", ChangedPairs(sources, SpatialChange(), draws=3))

    with Image.open(contact_sheet(written.path, tmp_path / "sheet.png", columns=4)) as drawn:
        sheet = np.asarray(drawn)

    # Images of 32 pixels are shown as they are; two strips of two rows.
    assert sheet.shape == (2 * (64 + TITLE + 2 * MARGIN) + MARGIN, 4 * (32 + MARGIN) + MARGIN, 3)
    first = sheet[MARGIN + TITLE : MARGIN + TITLE + 32, MARGIN : MARGIN + 32]
    assert np.array_equal(first, sources["train"].batch([0])[0][0].mul(255).round().byte().permute(1, 2, 0).numpy())
    changed = sheet[MARGIN + TITLE + 33 : MARGIN + TITLE + 65, MARGIN : MARGIN + 32]
    assert not np.array_equal(changed, first)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["p.h5", "sheet.png"]
    with pytest.raises(ValueError, match="columns must be at least 1"):
        contact_sheet(written.path, tmp_path / "sheet.png", columns=0)


def test_a_sheet_leaves_out_what_a_split_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "attic").mkdir()
    for light in (0, 1):
        picture(100, 120, seed=light).save(tmp_path / "attic" / f"dir_{light}.png")
    written = write_pairs(tmp_path / "p.h5", Scenes(tmp_path))

    with Image.open(contact_sheet(written.path, tmp_path / "sheet.png", columns=3)) as sheet:
        assert sheet.size == (3 * (96 + MARGIN) + MARGIN, 2 * (160 + TITLE + 2 * MARGIN) + MARGIN)
