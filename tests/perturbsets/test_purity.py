"""An attack leaves model, input and world as it found them, and works wherever and with whatever it is called."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import perturbsets
from perturbsets import (
    APGD,
    AcceleratedGradient,
    Adversary,
    Ascent,
    ComposedSet,
    GradientAscent,
    KLDivergence,
    LatentBall,
    Margin,
    Objective,
    OneStep,
    PerturbationSet,
    PixelBall,
    ProjectedAdam,
    ProjectedGradient,
    ProjectedLBFGS,
    RandomSearch,
    Region,
    SpatialBox,
    Square,
)
from perturbsets.ascents.square import Moves
from perturbsets.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, TopK
from tests.perturbsets.every_ascent import ASCENTS, ONE_EACH, is_stopping, pixels_or_else_places

STAYING = [ascent for ascent in ASCENTS if not is_stopping(ascent)]
HALVES = [torch.bfloat16, torch.float16]
ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 6, 6, dtype=dtype), torch.arange(count) % 3


def linear(dtype: torch.dtype = torch.float32, size: int = 36) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 3)).to(dtype)


class Noisy(nn.Module):
    """Statistics, dropout, draws of its own, frozen parameters and submodules in different modes."""

    def __init__(self, fails_at: float = math.inf) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.norm, self.head = nn.BatchNorm1d(64), nn.Linear(64, 3)
        self.fails_at, self.seen = fails_at, list[tuple[int, bool]]()
        self.train()
        self.norm.eval()
        self.body[0].weight.requires_grad_(False)
        self.head.bias.grad = torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((len(x), self.training))
        if len(self.seen) == self.fails_at:
            raise RuntimeError("enough")
        return self.head(self.norm(self.body(x + 0.01 * torch.randn_like(x)).flatten(1)))


def everything(model: nn.Module) -> list[Any]:
    """What an attack must leave as it is, inside the model and outside.

    The type checker that watches the tests draws from Python's generator itself where it checks a tuple, so take this
    down between making things and attacking.
    """
    parameters = [
        (each.requires_grad, None if each.grad is None else each.grad.tolist()) for each in model.parameters()
    ]
    values = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    numbers = [np.asarray(part).tolist() for part in np.random.get_state(legacy=True)[1:]]
    modes = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_grad_enabled()
    world = [torch.get_rng_state().tolist(), random.getstate(), numbers, modes, torch.is_inference_mode_enabled()]
    return [[module.training for module in model.modules()], parameters, values, world]


def test_every_public_ascent_is_in_the_list() -> None:
    exported = [value for value in vars(perturbsets.ascents).values() if isinstance(value, type)]
    public = {kind for kind in exported if issubclass(kind, Ascent)} - {Ascent}

    assert {type(ascent) for ascent in ASCENTS} == public, "ASCENTS in tests/perturbsets/every_ascent.py has them all"


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("mode", ["eval", "keep"])
def test_model_input_and_world_are_left_as_they_were(ascent: Ascent, mode: Any) -> None:
    if mode == "keep" and is_stopping(ascent):
        pytest.skip("keep drops no image")
    model, (x, y) = Noisy(), batch()
    perturbations = pixels_or_else_places(ascent, x)
    before, copy, version = everything(model), x.clone(), x._version
    found = Adversary(perturbations, ascent=ascent, mode=mode)(model, x, y)

    assert everything(model) == before
    assert torch.equal(x, copy)
    assert x._version == version
    assert {training for _, training in model.seen} == {mode == "keep"}
    assert not isinstance(perturbations, PixelBall) or (found.images - x).abs().max() <= 0.2 + 1e-6
    assert 0 <= found.images.min() <= found.images.max() <= 1


OVER_LABELS: list[Objective] = [BinaryCrossEntropy(), LabelMargin(), LabelRanking(), TopK(1), TopK(1, targeted=True)]


@pytest.mark.parametrize("objective", OVER_LABELS)
@pytest.mark.parametrize("mode", ["eval", "keep"])
@pytest.mark.parametrize("fails_at", [2, math.inf])
def test_attacks_on_states_of_labels_leave_no_trace(objective: Objective, mode: Any, fails_at: float) -> None:
    model, (x, _) = Noisy(fails_at), batch(3)
    states = torch.tensor([[1.0, 0.0, math.nan], [0.0, 1.0, 0.0], [math.nan, 1.0, 0.0]])
    before, copies = everything(model), (x.clone(), states.clone())
    with pytest.raises(RuntimeError, match="enough") if fails_at == 2 else nullcontext():
        Adversary(PixelBall("linf", 0.2), objective, ProjectedGradient(3), mode=mode)(model, x, states)

    assert everything(model) == before
    assert torch.equal(x, copies[0])
    assert_close(states, copies[1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("ascent", ONE_EACH)
@pytest.mark.parametrize("mode", ["eval", "keep"])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_they_come_back_after_an_exception_too(ascent: Ascent, mode: Any, fails_at: int) -> None:
    model, (x, y) = Noisy(fails_at), batch()
    adversary = Adversary(pixels_or_else_places(ascent, x), ascent=ascent, mode=mode)
    before = everything(model)

    with pytest.raises(RuntimeError, match="enough"):
        adversary(model, x, y, generator=draw())
    assert everything(model) == before


def test_a_model_that_keeps_learning_statistics_is_put_back_too() -> None:
    class Adapting(nn.Module):
        """Renews a buffer by a new tensor, and has normalisations that no call of `eval` stops."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)
            self.register_buffer("calls", torch.zeros(()))

        def train(self, mode: bool = True) -> Adapting:
            super().train(mode)
            self.norm.train()
            return self

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls = self.calls + 1
            return self.head(self.norm(x))

    model, x, y = Adapting(), torch.rand(3, 4), torch.arange(3)
    modes: list[Any] = ["eval", "keep"]
    for mode in modes:
        before, buffers = everything(model), list(model.buffers())
        Adversary(PixelBall("linf", 0.1), ascent=OneStep(), mode=mode)(model, x, y)
        assert everything(model) == before
        assert all(one is other for one, other in zip(model.buffers(), buffers, strict=True))


def test_draws_of_the_model_from_other_libraries_leave_no_trace() -> None:
    class Drawing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + 0.01 * random.random() + 0.01 * float(np.random.rand()))

    model, x, y = Drawing(), torch.rand(3, 4), torch.arange(3)
    before = everything(model)
    Adversary(PixelBall("linf", 0.1), ascent=OneStep())(model, x, y)

    assert everything(model) == before


@pytest.mark.parametrize("ascent", ONE_EACH)
def test_attacks_inside_a_training_step_leave_its_gradients_alone(ascent: Ascent) -> None:
    (x, y), model = batch(), linear()
    model[1].bias.requires_grad_(False)
    nn.functional.cross_entropy(model(x), y).backward()
    before = model[1].weight.grad.clone()
    Adversary(pixels_or_else_places(ascent, x), ascent=ascent)(model, x.requires_grad_(), y)

    assert torch.equal(model[1].weight.grad, before)
    assert model[1].bias.grad is None
    assert not model[1].bias.requires_grad
    assert x.grad is None
    assert x.requires_grad


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": lambda x: x.repeat_interleave(2, 3)[..., ::2],
    "turned": lambda x: x.transpose(2, 3),
    "expanded": lambda x: x[:1].expand(len(x), -1, -1, -1),
    "asking for gradients": lambda x: x.clone().requires_grad_(),
    "result of others": lambda x: x.clone().requires_grad_().mul(0.5),
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("ascent", ONE_EACH)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_are_not_written_to_and_their_layout_makes_no_difference(ascent: Ascent, layout: str) -> None:
    x, y = LAYOUTS[layout](torch.rand(4, 2, 6, 6)), torch.tensor([0, 1, 2, 0])
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    adversary = Adversary(pixels_or_else_places(ascent, x), ascent=ascent)
    copy, version = x.detach().clone(memory_format=torch.contiguous_format), x._version
    plain, other = (adversary(model, given, y, generator=draw()) for given in (copy, x))

    assert torch.equal(x.detach(), copy)
    assert x._version == version
    assert not x.is_leaf or x.grad is None
    assert_close(other.images, plain.images, atol=1e-4, rtol=0)  # sums in another order, and their signs
    assert_close(other.loss, plain.loss, atol=1e-4, rtol=0)


@pytest.mark.parametrize("ascent", ONE_EACH)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_results_are_ordinary_tensors_without_a_graph_in_any_context(ascent: Ascent, context: type) -> None:
    model = linear()
    with context():
        x, y = batch()
        found = Adversary(pixels_or_else_places(ascent, x), ascent=ascent)(model, x, y)
        again = Adversary(pixels_or_else_places(ascent, x), ascent=ascent)(model, x, y, start=found.offsets)

    for result in (found, again):
        for part in (result.images, result.offsets, result.loss, result.success, result.calls):
            assert part.grad_fn is None
            assert not part.requires_grad
            assert not part.is_inference()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_searches_made_of_attacks_give_ordinary_tensors_too(context: type) -> None:
    model, ball = linear(), PixelBall("l2", 0.3)
    one, two = Adversary(ball, ascent=OneStep()), Adversary(ball, KLDivergence(), RandomSearch(2))
    with context():
        x, y = batch()
        worst = perturbsets.Worst([one, two], drop_successes=True)(model, x, y)
        radii = perturbsets.bisect(one, model, x, y, largest=0.5, rounds=2)
        nearest = perturbsets.fast_minimum_norm(model, x, y, norm="l2", steps=3)

    for result in (worst, radii, nearest):
        for name, part in vars(result).items():
            assert not part.requires_grad, name
            assert not part.is_inference(), name


@pytest.mark.parametrize("ascent", ONE_EACH)
def test_attacks_work_under_autocast(ascent: Ascent) -> None:
    model, (x, y) = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3)), batch()
    perturbations = pixels_or_else_places(ascent, x)
    with torch.autocast("cpu", torch.bfloat16):
        before = everything(model)
        found = Adversary(perturbations, Margin(), ascent)(model, x, y)
        assert everything(model) == before
        assert model(x).dtype == torch.bfloat16

    assert found.images.dtype == found.offsets.dtype == found.loss.dtype == torch.float32
    assert not isinstance(perturbations, PixelBall) or (found.images - x).abs().max() <= 0.2 + 1e-6


@pytest.mark.parametrize("ascent", ONE_EACH)
@pytest.mark.parametrize("dtype", [torch.float64, *HALVES])
def test_images_keep_their_type(ascent: Ascent, dtype: torch.dtype) -> None:
    x, y = batch(dtype=dtype)
    for norm in ("l1", "l2", "linf"):
        perturbations = pixels_or_else_places(ascent, x, norm)
        found = Adversary(perturbations, ascent=ascent)(linear(dtype), x, y)

        assert found.images.dtype == dtype
        assert found.images.isfinite().all()
        assert 0 <= found.images.min() <= found.images.max() <= 1


@pytest.mark.parametrize(
    "ascent", [a for a in ONE_EACH if a.misfit(PixelBall("l2", 0.1).at(torch.rand(1, 1, 6, 6))) is None]
)
@given(
    seed=st.integers(0, 10_000),
    dtype=st.sampled_from(HALVES),
    norm=st.sampled_from(["l1", "l2", "linf"]),
    radius=st.sampled_from([0.03, 8 / 255, 0.3, 1.0]),
    low=st.sampled_from([0.0, -1.0]),
)
@example(seed=0, dtype=torch.bfloat16, norm="l1", radius=1.0, low=0.0)  # its sum in single precision is above 1
@settings(max_examples=12)
def test_halves_stay_within_radius_and_bounds_after_rounding(
    ascent: Ascent, seed: int, dtype: torch.dtype, norm: Any, radius: float, low: float
) -> None:
    if isinstance(ascent, Square) and norm == "l1":
        norm = "l2"
    x = (low + (1 - low) * torch.rand(6, 1, 4, 4, generator=draw(seed))).to(dtype)
    x[0], x[1], x[2] = 0.0, 1.0, x[2] / 64  # at both bounds, and where steps of the type are small
    model = linear(dtype, 16)
    found = Adversary(PixelBall(norm, radius, bounds=(low, 1.0)), Margin(), ascent)(
        model, x, torch.arange(6) % 3, generator=draw(seed)
    )
    distance = (found.images.double() - x.double()).flatten(1).norm(p=ORDERS[norm], dim=1)

    assert found.images.dtype == dtype
    assert (distance <= radius).all(), float(distance.max() / radius)
    assert low <= found.images.min() <= found.images.max() <= 1


def test_halves_come_as_near_to_the_optimum_as_their_rounding_lets_them() -> None:
    weights = torch.randn(3, 36)
    for dtype, steps in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        x, y, model = 0.5 + torch.rand(4, 36).to(dtype) / 4, torch.tensor([0, 1, 2, 0]), nn.Linear(36, 3, bias=False)
        with torch.no_grad():
            model.weight.copy_(weights)
        model = model.to(dtype)
        found = Adversary(PixelBall("linf", 0.1), Margin(), OneStep())(model, x, y)

        # Every pixel moves by the radius, less one step of the type at most.
        change = (found.images.double() - x.double()).abs()
        assert (change >= 0.1 - steps).all()


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_empty_and_single_batches_work(ascent: Ascent, count: int, norm: Any) -> None:
    x, y = batch(count)
    perturbations = pixels_or_else_places(ascent, x, norm)
    found = Adversary(perturbations, ascent=ascent)(linear(), x, y)

    assert found.images.shape == x.shape
    assert found.offsets.shape == perturbations.at(x).centre().shape
    assert found.loss.shape == found.success.shape == found.calls.shape == (count,)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = (x[:, None] if x.ndim == 1 else x.flatten(1)).sum(1, keepdim=True)
        return torch.cat([total, -total], 1)


@pytest.mark.parametrize("ascent", ONE_EACH)
@pytest.mark.parametrize("shape", [(3,), (3, 7), (2, 3, 4), (2, 1, 5, 5), (2, 2, 1, 3, 3)])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_samples_have_any_shape(ascent: Ascent, shape: tuple[int, ...], norm: Any) -> None:
    x, perturbations = torch.rand(shape), PixelBall(norm, 0.1)
    if ascent.misfit(perturbations.at(x)) is not None:
        pytest.skip("does not fit")
    found = Adversary(perturbations, ascent=ascent)(Sum(), x, torch.zeros(shape[0], dtype=torch.long))
    change = (found.images - x).reshape(shape[0], -1)

    assert found.images.shape == shape
    assert (change.norm(p=ORDERS[norm], dim=1) <= 0.1 * (1 + 1e-5)).all()


class Fed(PerturbationSet):
    """A ball whose draws are given, one row per image."""

    def __init__(self, ball: PixelBall, drawn: Tensor) -> None:
        self.ball, self.drawn = ball, drawn

    def at(self, images: Tensor) -> Region:
        region, left = self.ball.at(images), iter(self.drawn)
        region.sample = lambda *, generator=None: region.project(next(left))  # type: ignore[method-assign]
        return region


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_an_image_alone_gives_what_it_gives_in_a_batch(ascent: Ascent, norm: Any, monkeypatch: Any) -> None:
    (x, y), radii = batch(4, torch.float64), torch.tensor([0.1, 0.3, 0.0, 0.2], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    first = 0.02 * torch.randn(4, pixels_or_else_places(ascent, x, norm).at(x).size, dtype=torch.float64)
    has_restarts = "restarts" in {field.name for field in fields(ascent)}  # type: ignore[arg-type]
    single: Any = replace(ascent, restarts=1) if has_restarts else ascent  # type: ignore[type-var]

    def attack(rows: Tensor) -> perturbsets.AttackResult:
        def drawn_for_all(moves: Moves, below: int, *shape: int) -> Tensor:
            return torch.randint(below, (4, *shape), generator=moves.generator)[rows]

        monkeypatch.setattr(Moves, "_whole", drawn_for_all)
        chosen = pixels_or_else_places(ascent, x[rows], norm, radii[rows])
        if isinstance(ascent, RandomSearch) and isinstance(chosen, PixelBall):
            chosen = Fed(chosen, torch.randn(3, 4, 36, dtype=torch.float64, generator=draw(1))[:, rows])
        start = None if isinstance(ascent, Square | RandomSearch) else first[rows]
        return Adversary(chosen, ascent=single)(model, x[rows], y[rows], start=start, generator=draw())

    together = attack(torch.arange(4))
    for row in range(4):
        alone = attack(torch.tensor([row]))
        # Some end once all images are at rest, so that how long they look depends on the others.
        together_only = isinstance(ascent, AcceleratedGradient | ProjectedLBFGS) and not is_stopping(ascent)
        calls = [] if together_only else ["calls"]
        for name in ("images", "offsets", "loss", "success", *calls):
            assert_close(getattr(alone, name)[0], getattr(together, name)[row], msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture
def sets(linear_cvae: Any) -> Callable[[Any], dict[str, PerturbationSet]]:
    """Sets of images [B, 1, 2, 3] at a share of their radii."""

    def at(share: Any) -> dict[str, PerturbationSet]:
        balls: dict[str, PerturbationSet] = {norm: PixelBall(norm, 0.2 * share) for norm in ("l1", "l2", "linf")}  # type: ignore[arg-type]
        learned = LatentBall(linear_cvae().double(), 0.5 * share)
        after = ComposedSet([SpatialBox(), PixelBall("linf", 0.1)], radius=share)
        return balls | {"places": SpatialBox(radius=share), "learned": learned, "composed": after}

    return at


@pytest.mark.parametrize("ascent", ASCENTS)
def test_a_vector_of_equal_radii_is_the_scalar(ascent: Ascent, sets: Any) -> None:
    x, y = 0.4 + 0.2 * torch.rand(3, 1, 2, 3, dtype=torch.float64), torch.arange(3)
    model, share = linear(torch.float64, 6), 0.5
    pairs = zip(sets(share).items(), sets(torch.full((3,), share, dtype=torch.float64)).values(), strict=True)
    for (name, scalar), vector in pairs:
        if ascent.misfit(scalar.at(x)) is not None:
            continue
        one, other = (Adversary(kind, ascent=ascent)(model, x, y, generator=draw()) for kind in (scalar, vector))
        assert torch.equal(one.images, other.images), name
        assert torch.equal(one.offsets, other.offsets), name
        assert torch.equal(one.loss, other.loss), name


@pytest.mark.parametrize("ascent", ASCENTS)
def test_radius_zero_is_the_identity(ascent: Ascent, sets: Any) -> None:
    x, y = 0.4 + 0.2 * torch.rand(3, 1, 2, 3, dtype=torch.float64), torch.arange(3)
    for name, perturbations in sets(0.0).items():
        region = perturbations.at(x)
        if ascent.misfit(region) is not None:
            continue
        found = Adversary(perturbations, ascent=ascent)(linear(torch.float64, 6), x, y)
        # A learned set has one member left, which its networks make; interpolation rounds.
        only = region.decode(region.centre()) if name == "learned" else x
        assert_close(found.images, only, atol=0 if isinstance(perturbations, PixelBall) else 1e-12, rtol=0)
        assert not found.offsets.any(), name


@pytest.mark.parametrize("ascent", STAYING)
def test_keep_attacks_the_model_in_its_own_mode_with_the_whole_batch(ascent: Ascent) -> None:
    model, (x, y) = Noisy(), batch()
    adversary = Adversary(pixels_or_else_places(ascent, x), ascent=ascent, mode="keep")
    before = everything(model)
    found = adversary(model, x, y)

    assert set(model.seen) == {(5, True)}
    assert len(model.seen) == found.calls.unique().item()
    assert everything(model) == before


@pytest.mark.parametrize("ascent", [a for a in ASCENTS if is_stopping(a)])
def test_keep_refuses_to_drop_images(ascent: Ascent) -> None:
    with pytest.raises(ValueError, match="drops no image"):
        Adversary(PixelBall("linf", 0.1), ascent=ascent, mode="keep")


@pytest.mark.parametrize(
    "ascent", [GradientAscent(step_size=1.0), OneStep(), ProjectedGradient(1), ProjectedAdam(1), APGD(1)]
)
def test_steps_may_differ_per_image(ascent: Ascent) -> None:
    sizes = torch.tensor([0.01, 0.02, 0.04], dtype=torch.float64)
    x, y = torch.full((3, 4), 0.5, dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    one: Any = replace(ascent, step_size=sizes, **({} if isinstance(ascent, OneStep) else {"steps": 1}))  # type: ignore[type-var]
    found = Adversary(PixelBall("linf", 0.3), Margin(), one)(Sum(), x, y, start=torch.zeros_like(x))

    # The margin of two logits (s, -s) has the slope -2 in every pixel; a sign is all that the others take of it.
    slope = -2.0 if isinstance(ascent, GradientAscent) else -1.0
    assert_close(found.offsets, (slope * sizes)[:, None].expand(3, 4))


@pytest.mark.parametrize("ascent", ASCENTS)
def test_a_start_of_the_caller_is_tried_first_and_not_written_to(ascent: Ascent) -> None:
    x, y = torch.full((3, 1, 6, 6), 0.5), torch.tensor([0, 1, 0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    perturbations = pixels_or_else_places(ascent, x)
    region = perturbations.at(x)
    start = torch.rand(region.size, 3).T.requires_grad_()  # neither inside nor contiguous, and with a graph
    seen, copy = [], start.detach().clone()
    handle = model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    found = Adversary(perturbations, ascent=ascent)(model, x, y, start=start, generator=draw())
    handle.remove()

    assert_close(seen[0], region.decode(region.project(copy)))
    assert torch.equal(start.detach(), copy)
    assert start.grad is None
    assert found.loss.isfinite().all()
