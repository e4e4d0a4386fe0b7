from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from cvae import Draws, LoopSettings, train
from cvae.batches import Steps

Scalars = Iterator[Mapping[str, Tensor]]


class Two(Accelerator):
    """Accelerate's view from the second of two processes, without the first."""

    process_index, num_processes = 1, 2  # type: ignore[assignment]


def rows(count: int = 12, width: int = 3) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, width, generator=generator)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def error(model: nn.Module, batch: Any, draws: Draws) -> Tensor:
    """A loss that also uses the step's noise."""
    inputs, targets = batch
    noisy = inputs + 0.1 * draws.normal(3)[: len(inputs)]
    return (model(noisy) - targets).square().mean()


def squared(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
    yield {"loss": error(model, batch, draws)}


def test_batches_are_a_function_of_seed_and_step() -> None:
    numbers = TensorDataset(torch.arange(12))
    first, second = Steps(numbers, 4, seed=0), Steps(numbers, 4, seed=0)
    forwards = [first[step][0] for step in range(9)]
    backwards = [second[step][0] for step in reversed(range(9))][::-1]
    other = Steps(numbers, 4, seed=1)

    assert_close(forwards, backwards, rtol=0, atol=0)
    assert not torch.equal(torch.cat(forwards), torch.cat([other[step][0] for step in range(9)]))


@pytest.mark.parametrize(("items", "batch", "steps"), [(12, 4, 3), (12, 12, 1), (13, 4, 3), (3, 8, 1)])
def test_one_epoch_visits_no_item_twice(items: int, batch: int, steps: int) -> None:
    batches = Steps(TensorDataset(torch.arange(items)), batch, seed=0)

    for epoch in range(3):
        seen = Counter(torch.cat([batches[epoch * steps + step][0] for step in range(steps)]).tolist())
        assert set(seen.values()) == {1}
        assert len(seen) == min(batch, items) * steps


def test_processes_share_each_global_batch() -> None:
    numbers = TensorDataset(torch.arange(24))
    whole = Steps(numbers, 8, seed=0)
    parts = [Steps(numbers, 8, seed=0, rank=rank, processes=2) for rank in (0, 1)]

    for step in range(5):
        shares = [part[step][0] for part in parts]
        assert_close(torch.stack(shares, 1).flatten(), whole[step][0], rtol=0, atol=0)


def test_processes_share_the_noise_of_the_global_batch() -> None:
    whole = Draws(3, 10, seed=7, batch=6).normal(2)
    shares = [Draws(3, 10, seed=7, batch=6, rank=rank, processes=2).normal(2) for rank in (0, 1)]

    assert_close(torch.stack(shares, 1).flatten(0, 1), whole, rtol=0, atol=0)
    assert not torch.equal(Draws(4, 10, seed=7, batch=6).normal(2), whole)
    states = {Draws(3, 10, 7, 6, rank, 2).generator().initial_seed() for rank in (0, 1)}
    assert len(states) == 2


def test_what_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be a multiple of the 2 processes, got 5"):
        train(linear(), squared, rows(), LoopSettings(steps=1, batch=5), accelerator=Two())
    with pytest.raises(ValueError, match="data must hold at least one item a process, got 1 for 2"):
        train(linear(), squared, rows(1), LoopSettings(steps=1, batch=4), accelerator=Two())
    with pytest.raises(ValueError, match="at least one item"):
        train(linear(), squared, rows(0), LoopSettings(steps=1))


def test_fewer_items_than_a_batch_are_all_used() -> None:
    sizes = []

    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        sizes.append((len(batch[0]), len(draws.normal(3))))
        yield from squared(model, batch, draws)

    train(linear(), loss, rows(5), LoopSettings(steps=3, batch=128))

    assert sizes == [(5, 5)] * 3


def test_training_ends_at_the_known_solution() -> None:
    model = linear()

    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        yield {"loss": (model(batch[0]) - batch[1]).square().mean()}

    records = train(model, loss, rows(), LoopSettings(steps=400, batch=12, learning_rate=0.05))

    # The targets are the sums of the inputs: weights 1 and bias 0 give them exactly.
    assert_close(model.weight, torch.ones(1, 3), rtol=0, atol=1e-3)
    assert_close(model.bias, torch.zeros(1), rtol=0, atol=1e-3)
    assert records[-1]["loss"] < 1e-6 < records[0]["loss"]
    assert not model.training


@pytest.mark.parametrize("cut", [10, 20])
def test_stopped_training_continues_to_the_same_numbers(tmp_path: Path, cut: int) -> None:
    settings = LoopSettings(steps=30, batch=5, validate_every=10)
    scores = {10: 3.0, 20: 1.0, 30: 2.0}
    step = [0]

    def validate(model: nn.Module) -> dict[str, float]:
        return {"score": scores[step[0]]}

    def loss(stop: int | None) -> Any:
        def measured(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
            if draws.step == stop:
                raise KeyboardInterrupt
            step[0] = draws.step + 1
            yield from squared(model, batch, draws)

        return measured

    whole, resumed = linear(), linear()
    expected = train(whole, loss(None), rows(), settings, validate=validate, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(linear(), loss(cut + 5), rows(), settings, validate=validate, folder=tmp_path / "cut")
    for parameter in resumed.parameters():
        nn.init.constant_(parameter, 9.0)  # first weights are of no matter: the checkpoint has them
    got = train(resumed, loss(None), rows(), settings, validate=validate, folder=tmp_path / "cut")

    assert got == expected
    assert_close(dict(resumed.named_parameters()), dict(whole.named_parameters()), rtol=0, atol=0)
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
    assert lines[0] == lines[1]


def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    settings = LoopSettings(steps=10, batch=4, validate_every=5)
    first, second = linear(), linear()
    expected = train(first, squared, rows(), settings, folder=tmp_path)

    def refuse(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        raise AssertionError("no step is left")

    assert train(second, refuse, rows(), settings, folder=tmp_path) == expected
    assert_close(second.weight, first.weight, rtol=0, atol=0)


def test_best_weights_on_validation_are_kept() -> None:
    seen, model = [], linear()
    scores = itertools.chain([5.0, 1.0, 2.0, 1.0])

    def validate(bare: nn.Module) -> dict[str, float]:
        assert not bare.training
        assert not torch.is_grad_enabled()
        seen.append(bare.weight.detach().clone())
        return {"score": next(scores)}

    train(model, squared, rows(), LoopSettings(steps=20, batch=4, validate_every=5), validate=validate)

    assert len(seen) == 4
    assert_close(model.weight.detach(), seen[1], rtol=0, atol=0)  # of equal scores, the first
    assert not torch.equal(seen[1], seen[3])


def test_last_weights_are_kept_without_validation() -> None:
    long, short = linear(), linear()
    train(long, squared, rows(), LoopSettings(steps=6, batch=4, validate_every=6))
    train(short, squared, rows(), LoopSettings(steps=6, batch=4, validate_every=2))

    assert_close(long.weight, short.weight, rtol=0, atol=0)


def test_nan_in_the_data_is_named() -> None:
    data = TensorDataset(torch.full((8, 3), math.nan), torch.zeros(8, 1))

    with pytest.raises(FloatingPointError, match="NaN or infinite at step 1: the batch itself holds NaN"):
        train(linear(), squared, data, LoopSettings(steps=12, batch=4))


def test_overflow_is_named_with_its_step() -> None:
    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        value = error(model, batch, draws)
        yield {"loss": value, "extra": torch.tensor(math.inf if draws.step >= 6 else 0.0)}

    with pytest.raises(FloatingPointError, match=r"at step 7: the weights are still finite, so the loss overflowed"):
        train(linear(), loss, rows(), LoopSettings(steps=30, batch=4))


def test_diverged_weights_are_named() -> None:
    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        value = error(model, batch, draws)
        yield {"loss": value * (math.nan if draws.step == 3 else 1.0)}

    with pytest.raises(FloatingPointError, match="at step 4: the weights diverged; try a lower learning_rate"):
        train(linear(), loss, rows(), LoopSettings(steps=30, batch=4))


def test_no_checkpoint_holds_broken_weights(tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        value = error(model, batch, draws)
        yield {"loss": value * (math.nan if draws.step == 13 else 1.0)}

    settings = LoopSettings(steps=30, batch=4, validate_every=5)
    with pytest.raises(FloatingPointError, match="at step 14"):
        train(linear(), loss, rows(), settings, folder=tmp_path)
    model = linear()
    records = train(model, squared, rows(), settings, folder=tmp_path)

    assert [record["step"] for record in records] == [5, 10, 15, 20, 25, 30]
    assert model.weight.isfinite().all()


def test_all_faults_of_settings_are_listed() -> None:
    with pytest.raises(ValueError, match="steps must be") as caught:
        LoopSettings(
            steps=0,
            batch=0,
            learning_rate=math.nan,
            warmup=1.0,
            weight_decay=-1.0,
            clip=0.0,
            validate_every=0,
            workers=-1,
        )

    places = ["steps", "batch", "learning_rate", "warmup", "weight_decay", "clip", "validate_every", "workers"]
    assert [fault.split(" must be ")[0] for fault in str(caught.value).split("; ")] == places
    assert "warmup must be a share in [0, 1), got 1.0" in str(caught.value)


def test_learning_rate_rises_linearly_then_falls_as_a_cosine() -> None:
    settings = LoopSettings(steps=100, warmup=0.1)
    rates = [settings.rate(step) for step in range(100)]

    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == max(rates) == 1.0
    assert rates[55] == pytest.approx(0.5)  # half of the way from 10 to 100
    assert all(before > after for before, after in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 1e-3
    assert LoopSettings(steps=10, warmup=0.0).rate(0) == 1.0
    assert 0 < LoopSettings(steps=1, warmup=0.9).rate(0) <= 1


def test_optimizer_takes_the_rate_of_the_step() -> None:
    # AdamW's first step has the length of the learning rate in every coordinate, whatever the gradient.
    model = linear()
    before = model.weight.detach().clone()
    settings = LoopSettings(steps=1, batch=4, learning_rate=0.01, warmup=0.5)
    train(model, squared, rows(), settings)

    moved = (model.weight.detach() - before).abs()
    assert_close(moved, torch.full((1, 3), 0.01 * settings.rate(0)), rtol=1e-3, atol=0)


def test_records_are_means_over_the_steps_since_the_last_one() -> None:
    def loss(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        yield {"loss": error(model, batch, draws), "number": torch.tensor(float(draws.step))}

    records = train(linear(), loss, rows(), LoopSettings(steps=25, batch=4, validate_every=15))

    assert [(record["step"], record["number"]) for record in records] == [(10, 4.5), (15, 12.0), (25, 19.5)]


def test_each_yield_is_an_optimizer_step_and_records_are_means_over_the_batch() -> None:
    seen: list[float] = []
    free: list[bool] = []

    def thrice(model: nn.Module, batch: Any, draws: Draws) -> Scalars:
        for number in range(3):
            value = (model(batch[0]) - batch[1]).square().mean()
            seen.append(value.item())
            yield {"loss": value, "number": torch.tensor(number)}
            free.append(all(parameter.grad is None for parameter in model.parameters()))

    settings = LoopSettings(steps=2, batch=12, learning_rate=0.1, warmup=0.0, validate_every=1)
    model, twin = linear(), linear()
    records = train(model, thrice, rows(), settings)
    optimizer = torch.optim.AdamW(twin.parameters(), weight_decay=0.0)
    whole = Steps(rows(), 12, seed=0)
    for step in range(2):  # the same by hand
        inputs, targets = whole[step]
        for _ in range(3):
            optimizer.param_groups[0]["lr"] = 0.1 * settings.rate(step)
            optimizer.zero_grad()
            (twin(inputs) - targets).square().mean().backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
            optimizer.step()

    assert_close(model.weight, twin.weight)
    assert len(set(seen)) == 6
    assert free == [True] * 6
    assert [record["loss"] for record in records] == pytest.approx([sum(seen[:3]) / 3, sum(seen[3:]) / 3])
    assert [record["number"] for record in records] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"loss": torch.zeros(())}, "got 'loss': write `yield"), ([{"los": 1}], '"loss", one an'), ([], "got nothing")],
)
def test_a_loss_that_yields_no_loss_is_refused(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        train(linear(), lambda model, batch, draws: given, rows(), LoopSettings(steps=1, batch=4))


def test_loading_ahead_changes_no_number() -> None:
    plain, ahead = linear(), linear()
    expected = train(plain, squared, rows(), LoopSettings(steps=6, batch=4))
    got = train(ahead, squared, rows(), LoopSettings(steps=6, batch=4, workers=2))

    assert got == expected
    assert_close(ahead.weight, plain.weight, rtol=0, atol=0)


def test_model_is_unwrapped_after_training() -> None:
    model = linear()
    train(model, squared, rows(), LoopSettings(steps=2, batch=4), accelerator=Accelerator(cpu=True))

    assert type(model) is nn.Linear
    assert "forward" not in vars(model)
