"""The small classifier of the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets import SmallConvNet


@pytest.mark.parametrize(
    "given",
    [{}, {"widths": (16, 32), "kernel": 4, "hidden": 100}, {"channels": 3, "height": 9, "width": 30, "classes": 2}],
)
def test_any_shape_gives_logits_and_survives_saving(given: dict[str, Any], tmp_path: Path) -> None:
    model = SmallConvNet(**given).eval()
    x = torch.rand(2, given.get("channels", 1), given.get("height", 28), given.get("width", 28))
    model.save_pretrained(tmp_path)

    assert model(x).shape == (2, given.get("classes", 10))
    assert_close(SmallConvNet.from_pretrained(tmp_path)(x), model(x))


def test_the_published_network_has_its_number_of_weights() -> None:
    model = SmallConvNet(widths=(16, 32), kernel=4, hidden=100)

    # Convolutions of 16 and 32 channels and 4x4 kernels, 7x7 places, 100 hidden, 10 classes: Wong et al., sec. 5.1.
    wanted = (16 * 16 + 16) + (32 * 16 * 16 + 32) + (32 * 49 * 100 + 100) + (100 * 10 + 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"height": 7}, "height and width 8"),
        ({"widths": ()}, "widths must be 1 or more each"),
        ({"kernel": 5}, "kernel 3 or 4"),
        ({"classes": 1}, "classes must be at least 2"),
    ],
)
def test_impossible_sizes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallConvNet(**given)
