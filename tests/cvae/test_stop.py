from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import Draws, LoopSettings, train
from cvae.progress import Record

SCORES = [3.0, 1.0, 2.0, 0.5]
SETTINGS = LoopSettings(steps=20, batch=4, validate_every=5)


def rows() -> TensorDataset:
    inputs = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


class Run:
    """A training whose scores are those listed, and which takes down its steps."""

    def __init__(self, scores: list[float] = SCORES, kill: int | None = None) -> None:
        self.scores, self.kill = scores, kill
        self.steps: list[int] = []
        self.weights: list[Tensor] = []

    def loss(self, model: nn.Module, batch: Any, draws: Draws) -> Iterator[Mapping[str, Tensor]]:
        if draws.step == self.kill:
            raise KeyboardInterrupt
        self.steps.append(draws.step + 1)
        yield {"loss": (model(batch[0]) - batch[1]).square().mean()}

    def validate(self, model: nn.Module) -> Record:
        self.weights.append(model.weight.detach().clone())
        return {"score": self.scores[self.steps[-1] // 5 - 1]}

    def __call__(self, model: nn.Module, folder: Path | None = None) -> list[Record]:
        return train(model, self.loss, rows(), SETTINGS, validate=self.validate, stop=worsened, folder=folder)


def worsened(records: list[Record]) -> bool:
    scores = [record["score"] for record in records if "score" in record]
    return scores[-1] > min(scores)


def test_training_ends_where_it_is_told_to_and_the_best_weights_are_put_back() -> None:
    model, run = linear(), Run()
    records = run(model)

    assert run.steps[-1] == 15  # the third score is worse than the second
    assert [record["score"] for record in records if "score" in record] == [3.0, 1.0, 2.0]
    assert_close(model.weight.detach(), run.weights[1], rtol=0, atol=0)
    assert not model.training


def test_training_that_is_never_told_to_end_takes_all_steps() -> None:
    run = Run([4.0, 3.0, 2.0, 1.0])
    run(linear())

    assert run.steps[-1] == 20


def test_a_training_that_ended_stays_ended_when_started_again(tmp_path: Path) -> None:
    first, second, again = linear(), linear(), Run()
    expected = Run()(first, tmp_path)
    got = again(second, tmp_path)

    assert got == expected
    assert again.steps == []
    assert_close(second.weight, first.weight, rtol=0, atol=0)


def test_a_training_killed_before_its_end_comes_to_the_same_end(tmp_path: Path) -> None:
    whole, resumed = linear(), linear()
    expected = Run()(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Run(kill=12)(linear(), tmp_path / "cut")
    rest = Run()

    assert rest(resumed, tmp_path / "cut") == expected
    assert rest.steps == [11, 12, 13, 14, 15]
    assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def test_a_training_killed_between_its_last_record_and_its_checkpoint_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Run()(linear(), tmp_path / "whole")
    saved = []

    def killed(*arguments: Any) -> None:
        saved.append(arguments)
        if len(saved) == 3:
            raise KeyboardInterrupt
        save(*arguments)

    from cvae.training import save_checkpoint as save

    with monkeypatch.context() as patch:
        patch.setattr("cvae.training.save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            Run()(linear(), tmp_path / "cut")

    assert Run()(linear(), tmp_path / "cut") == expected


def test_stop_without_validations_is_refused() -> None:
    with pytest.raises(ValueError, match="stop must come with validate, got none"):
        train(linear(), Run().loss, rows(), SETTINGS, stop=worsened)
