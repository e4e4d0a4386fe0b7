from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.testing import assert_close

from cvae.checkpoint import TrainingState, load_checkpoint, save_checkpoint


def trained(width: int = 3) -> tuple[nn.Linear, torch.optim.AdamW]:
    """A model and an optimizer that has taken a step."""
    torch.manual_seed(0)
    model = nn.Linear(width, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, width)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, optimizer = trained()
    progress = TrainingState(step=7, best_score=0.5)
    progress.offer(0.25, model)
    file = tmp_path / "checkpoint.safetensors"
    save_checkpoint(file, model, optimizer, progress, "settings")
    return file


def test_everything_comes_back(saved: Path) -> None:
    expected, its_optimizer = trained()
    model = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters())

    progress = load_checkpoint(saved, model, optimizer, "settings")

    assert (progress.step, progress.best_score) == (7, 0.25)
    assert progress.best is not None
    assert_close(progress.best, dict(expected.state_dict()), rtol=0, atol=0)
    assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert_close(optimizer.state_dict()["state"], its_optimizer.state_dict()["state"], rtol=0, atol=0)


def test_missing_file_means_a_fresh_start(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.safetensors", *trained(), "settings") == TrainingState()


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated_file_is_refused_with_the_fix(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])

    with pytest.raises(ValueError, match=r"is no whole checkpoint .*: delete it to start afresh"):
        load_checkpoint(saved, *trained(), "settings")


@pytest.mark.parametrize("metadata", [None, *({"checkpoint": text} for text in ("{", "{}", "[]", "1"))])
def test_foreign_file_is_refused(saved: Path, metadata: dict[str, str] | None) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, saved, metadata=metadata)

    with pytest.raises(ValueError, match="is no whole checkpoint"):
        load_checkpoint(saved, *trained(), "settings")


def test_other_settings_are_refused_with_both(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)other settings:\n  then settings\n  now  new.*another folder"):
        load_checkpoint(saved, *trained(), "new")


def test_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)holds another model.*size mismatch.*Choose another folder"):
        load_checkpoint(saved, *trained(width=4), "settings")


def test_only_safetensors_are_written(saved: Path) -> None:
    assert [file.name for file in saved.parent.iterdir()] == ["checkpoint.safetensors"]
    with safetensors.safe_open(saved, "pt") as reader:
        assert json.loads(reader.metadata()["checkpoint"])["step"] == 7


def test_best_is_a_copy_with_the_lowest_score() -> None:
    model, _ = trained()
    progress = TrainingState()
    progress.offer(1.0, model)
    best = progress.best
    with torch.no_grad():
        model.weight.add_(1.0)
    progress.offer(1.0, model)

    assert progress.best is best
    assert best is not None
    assert_close(model.weight.detach() - best["weight"], torch.ones(1, 3))
