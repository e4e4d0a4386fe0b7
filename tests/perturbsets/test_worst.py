from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    AdversarialTraining,
    Adversary,
    CrossEntropy,
    GradientAscent,
    KLDivergence,
    LatentBall,
    Margin,
    OneStep,
    Penalized,
    PixelBall,
    ProjectedGradient,
    RandomSearch,
    StrongestWrong,
    Worst,
    bisect,
)

WEAK = Adversary(PixelBall("linf", 0.02), CrossEntropy(), OneStep())
STRONG = Adversary(PixelBall("linf", 0.2), Margin(), ProjectedGradient(10))
OTHER = Adversary(PixelBall("l2", 0.8), CrossEntropy(), RandomSearch(3))


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 4))


def batch(net: nn.Module, count: int = 24) -> tuple[Tensor, Tensor]:
    """Samples that the model gets right, so that there is something to turn."""
    x = torch.rand(count, 1, 6, 6)
    return x, net.eval()(x).argmax(1)


def margin(net: nn.Module, images: Tensor, y: Tensor) -> Tensor:
    return Margin().at(net, images, y)(images, images.flatten(1))[0].detach()


def test_the_worst_of_all_members_is_kept() -> None:
    net = model()
    x, y = batch(net)
    draw = torch.Generator().manual_seed(1)
    singles = [adversary(net, x, y, generator=draw) for adversary in (WEAK, STRONG, OTHER)]
    found = Worst([WEAK, STRONG, OTHER])(net, x, y, generator=torch.Generator().manual_seed(1))
    table = torch.stack([margin(net, single.images, y) for single in singles])

    assert_close(found.loss, table.amax(0))
    assert torch.equal(found.member, table.argmax(0))
    assert torch.equal(found.success, (table > 0).any(0))
    assert_close(margin(net, found.images, y), found.loss)
    assert torch.equal(found.calls, sum(single.calls for single in singles) + 3)


def test_what_the_judge_asks_is_counted() -> None:
    net, seen = model().eval(), list[int]()
    x, y = batch(net)
    net.register_forward_hook(lambda *_: seen.append(1))
    found = Worst([WEAK, STRONG], judge=StrongestWrong())(net, x, y)
    price = Adversary(PixelBall("linf", 0.1), Penalized(KLDivergence()), OneStep())
    price_calls = len(seen)
    searched = bisect(price, net, x, y, largest=1.0, over="weight", rounds=1)

    # StrongestWrong and KLDivergence ask for clean predictions first.
    assert found.calls.unique().item() == price_calls == (2 + 2) + (11 + 2)
    assert int(searched.calls.max()) == len(seen) - price_calls


def test_dropping_what_is_reached_costs_less_and_flags_the_same() -> None:
    net = model()
    x, y = batch(net)
    plain = Worst([STRONG, WEAK])(net, x, y, generator=torch.Generator().manual_seed(1))
    dropped = Worst([STRONG, WEAK], drop_successes=True)(net, x, y, generator=torch.Generator().manual_seed(1))

    assert plain.success.sum() > 0
    assert torch.equal(dropped.success, plain.success)
    assert (dropped.calls[dropped.success] < plain.calls[plain.success]).all()
    assert (dropped.member[dropped.success] == 0).all()


def test_sets_of_different_kinds_go_together(linear_cvae: Any) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    x = torch.rand(7, 1, 2, 3)
    y = net(x).argmax(1)
    adversaries = [Adversary(LatentBall(linear_cvae(), 2.0)), Adversary(PixelBall("l2", 0.5))]
    found = Worst(adversaries)(net, x, y)

    assert found.images.shape == x.shape
    assert set(found.member.tolist()) <= {0, 1}


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("drop", [False, True])
def test_empty_and_single_batches(count: int, drop: bool) -> None:
    net = model()
    x, y = batch(net, count)
    found = Worst([WEAK, STRONG], drop_successes=drop)(net, x, y)

    assert found.images.shape == x.shape
    assert found.loss.shape == found.success.shape == found.member.shape == found.calls.shape == (count,)


def test_the_model_and_the_input_are_left_as_they_were() -> None:
    net = model()
    x, y = batch(net)
    net.train()
    before, kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}, x.clone()
    random = torch.get_rng_state()
    found = Worst([WEAK, STRONG], drop_successes=True)(net, x, y)

    assert all(module.training for module in net.modules())
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert found.images.grad_fn is None
    assert all(parameter.grad is None for parameter in net.parameters())


def test_methods_train_against_several() -> None:
    net = model()
    x, y = batch(net)
    ((losses, logits),) = AdversarialTraining(Worst([WEAK, STRONG]))(net, net, x, y, torch.Generator().manual_seed(0))

    assert losses.shape == (24,)
    assert logits.requires_grad


def test_no_adversary_is_refused() -> None:
    with pytest.raises(ValueError, match="adversaries must hold at least one"):
        Worst([])


def test_what_an_adversary_refuses_is_refused() -> None:
    net = model()
    x, y = batch(net)
    with pytest.raises(ValueError, match="images must lie within"):
        Worst([WEAK])(net, x + 1, y)
    with pytest.raises(ValueError, match="step_size must be above 0"):
        Worst([Adversary(PixelBall("linf", 0.1), ascent=GradientAscent(step_size=-1.0))])
