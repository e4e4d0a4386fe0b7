from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from augment import Digits, Source


def test_splits_share_no_image_and_hold_all() -> None:
    splits = [Digits(name) for name in ("train", "validation", "test")]  # type: ignore[arg-type]
    indices = torch.cat([split.indices for split in splits])

    assert [len(split) for split in splits] == [1197, 300, 300]
    assert_close(indices, torch.arange(1797))
    assert all(isinstance(split, Source) for split in splits)


def test_images_are_framed_scans_in_range() -> None:
    digits = Digits("test", size=28, digit=16)

    assert digits.images.shape == (300, 1, 28, 28)
    assert 0 <= digits.images.min() <= digits.images.max() <= 1
    assert digits.images[:, :, :6].abs().max() == 0
    assert digits.images[:, :, 6:22, 6:22].mean() > 0.1
    assert_close(digits[3][0], digits.batch([3])[0][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"split": "all"}, "split must be"), ({"digit": 4}, "digit must be 8"), ({"size": 10}, "size must be at least")],
)
def test_bad_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)  # type: ignore[arg-type]
