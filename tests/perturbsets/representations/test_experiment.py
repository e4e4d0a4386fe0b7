"""The study of representations, called from Python."""

from __future__ import annotations

import torch

from augment import Digits
from perturbsets import SmallConvNet
from perturbsets.representations.experiment import study_representations
from perturbsets.representations.study_settings import StudySettings


def test_a_study_needs_a_network_and_data_alone() -> None:
    torch.manual_seed(0)
    model = SmallConvNet(1, 8, 8, classes=10, hidden=16, widths=(4, 8)).eval()
    data = {split: Digits(split, size=8, digit=8) for split in ("train", "test")}
    settings = StudySettings(
        layers=["layers.6"], pairs=4, right=False, radius=0.2, radii=[], steps=3, random=False, shown=1
    )
    parts: list[str] = []

    content, arrays = study_representations(
        model, data, settings, others={"other": model}, progress=lambda name, done, total: parts.append(name)
    )

    assert content["layers"] == list(content["by_layer"]) == ["layers.6"]
    assert content["by_layer"]["layers.6"]["ratio"]["mean"] < 1
    assert parts == [name.replace("_", " ") for name in list(content)[-len(parts) :]]
    assert list(content["transfer"]) == ["other"]
    assert arrays["shown/adversary"].shape == (1, 1, 8, 8)
