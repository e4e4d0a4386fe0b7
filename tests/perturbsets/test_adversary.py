from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import (
    APGD,
    Adversary,
    Ascent,
    CrossEntropy,
    GradientAscent,
    GridSearch,
    Margin,
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

ASCENTS = [
    GradientAscent(0.1, steps=4),
    OneStep(),
    OneStep(starts="uniform"),
    ProjectedGradient(4),
    ProjectedGradient(4, restarts=2, momentum=1.0, schedule="cosine"),
    ProjectedGradient(7, stop_when_reached=True),
    ProjectedAdam(4),
    APGD(9),
    APGD(9, stop_when_reached=True),
    ProjectedLBFGS(8),
    ProjectedLBFGS(8, stop_when_reached=True),
    RandomSearch(3),
    Square(12),
    Square(12, stop_when_reached=True),
    GridSearch(2),
    GridSearch((3, 2, 1, 1), stop_when_reached=True),
]


def pixels_or_else_places(ascent: Ascent, images: Tensor, norm: Literal["l2", "linf"] = "linf") -> PerturbationSet:
    """The first set that the ascent fits."""
    choices = PixelBall(norm, 0.2), SpatialBox(radius=0.5)
    return next(choice for choice in choices if ascent.misfit(choice.at(images.detach())) is None)


def noisy_model() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3)
    )
    model(torch.rand(2, 1, 6, 6))
    model[1].eval()  # a mixed state, which has to come back as it was
    return model.train() and model


def batch(count: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 6, 6), torch.randint(0, 3, (count,))


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("mode", ["eval", "keep"])
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_model_and_input_are_left_as_they_were(ascent: Ascent, mode: str) -> None:
    if mode == "keep" and getattr(ascent, "stop_when_reached", False):
        pytest.skip("keep drops no image")
    model = noisy_model()
    model[1].eval()
    flags = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, y = batch()
    before, random = x.clone(), torch.get_rng_state()

    perturbations = pixels_or_else_places(ascent, x)
    found = Adversary(perturbations, ascent=ascent, mode=mode)(model, x, y)  # type: ignore[arg-type]

    assert [module.training for module in model.modules()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert_close(tensor, state[name], rtol=0, atol=0)
    assert_close(x, before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part.requires_grad for part in (found.images, found.offsets, found.values))
    assert not isinstance(perturbations, PixelBall) or (found.images - x).abs().max() <= 0.2 + 1e-6
    assert 0 <= found.images.min() <= found.images.max() <= 1


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_modes_come_back_after_an_exception() -> None:
    model = noisy_model()
    model.append(nn.Unflatten(1, (3, 1)))
    flags = [module.training for module in model.modules()]

    with pytest.raises(ValueError, match=r"model must return logits \[B, K\]"):
        Adversary(PixelBall("linf", 0.1))(model, *batch())
    assert [module.training for module in model.modules()] == flags


def linear(weights: Tensor) -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.shape[1], 2, bias=False).to(weights.dtype))
    with torch.no_grad():
        model[1].weight.copy_(weights)
    return model


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(
    "ascent", [OneStep(), ProjectedGradient(60, schedule="cosine"), ProjectedGradient(60, step_size=0.05)]
)
def test_linear_models_are_attacked_optimally(norm: str, ascent: Ascent) -> None:
    weights = torch.randn(2, 12, dtype=torch.float64)
    x, y = torch.full((4, 1, 3, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    model, radius = linear(weights), 0.2

    found = Adversary(PixelBall(norm, radius), Margin(), ascent)(
        model, x, y, generator=torch.Generator().manual_seed(0)
    )  # type: ignore[arg-type]

    gap = weights[1] - weights[0]
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    dual = gap.norm() if norm == "l2" else gap.abs().sum()  # Hölder: the most a ball of radius r can add
    assert_close(found.values, sign * 0.5 * gap.sum() + radius * dual, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("ascent", [a for a in ASCENTS if not isinstance(a, GradientAscent)])
def test_radius_zero_is_the_identity(ascent: Ascent) -> None:
    x, y = batch()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    if isinstance(ascent, ProjectedGradient | OneStep):
        ascent = type(ascent)(step_size=0.1)

    for perturbations in (PixelBall("l2", 0.0), PixelBall("linf", 0.0), SpatialBox(radius=0.0)):
        if ascent.misfit(perturbations.at(x)) is None:
            assert_close(Adversary(perturbations, ascent=ascent)(model, x, y).images, x, atol=2e-6, rtol=0)


def test_radii_and_batches_do_not_mix_images() -> None:
    x, y = torch.rand(4, 7, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    model = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 2)).double()
    radii = torch.tensor([0.1, 0.2, 0.05, 0.0], dtype=torch.float64)
    ascent = ProjectedGradient(6, step_size=0.03, starts="zero")

    together = Adversary(PixelBall("l2", radii), ascent=ascent)(model, x, y)

    for row in range(4):
        alone = Adversary(PixelBall("l2", float(radii[row])), ascent=ascent)(model, x[row : row + 1], y[row : row + 1])
        assert_close(alone.images[0], together.images[row])
        assert_close(alone.values[0], together.values[row])


def test_images_that_are_reached_leave_and_the_others_lose_nothing() -> None:
    x, y = torch.rand(32, 8), torch.randint(0, 3, (32,))
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    settings = {"steps": 20, "step_size": 0.05, "starts": "zero"}

    whole = Adversary(PixelBall("linf", 0.3), ascent=ProjectedGradient(**settings))(model, x, y)  # type: ignore[arg-type]
    stopped = Adversary(PixelBall("linf", 0.3), ascent=ProjectedGradient(**settings, stop_when_reached=True))(
        model, x, y
    )  # type: ignore[arg-type]

    assert_close(stopped.reached, whole.reached)
    assert stopped.calls.sum() < whole.calls.sum()
    assert_close(stopped.values[~whole.reached], whole.values[~whole.reached])
    assert (whole.calls == 21).all()


def test_the_best_iterate_is_returned_not_the_last() -> None:
    class Valley(nn.Module):
        """Fooled near 0.55 only, which a coarse step passes over and leaves again."""

        def forward(self, x: Tensor) -> Tensor:
            bump = 1 - 20 * (x[:, :1] - 0.6).abs()
            return torch.cat([torch.zeros_like(bump), bump], 1)

    x, y = torch.full((1, 1), 0.5), torch.tensor([0])
    found = Adversary(PixelBall("linf", 0.4), ascent=ProjectedGradient(7, step_size=0.1, starts="zero"))(Valley(), x, y)

    assert found.reached.item()
    assert_close(found.images, torch.full((1, 1), 0.6), atol=1e-5, rtol=0)


class Flat(nn.Module):
    """Gives the first class whatever comes, with a zero gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(x), 2) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_zero_gradient_is_no_success(norm: str) -> None:
    found = Adversary(PixelBall(norm, 0.1))(Flat(), torch.rand(3, 4), torch.zeros(3, dtype=torch.long))  # type: ignore[arg-type]

    assert not found.reached.any()
    assert found.images.isfinite().all()


def test_a_model_that_returns_nan_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), math.nan) * x.sum()

    with pytest.raises(ValueError, match="model must return finite values, got NaN or infinity on 3 of 3"):
        Adversary(PixelBall("l2", 0.1))(Broken(), torch.rand(3, 4), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 7]), "labels must be within 0 and 1"),
        (torch.tensor([0, -1, 1]), "labels must be within 0 and 1"),
        (torch.tensor([0.0, 1.0, 1.0]), "labels must be one whole class number per image"),
        (torch.tensor([0, 1]), "labels must be one whole class number per image"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adversary(PixelBall("l2", 0.1))(Flat(), torch.rand(3, 4), labels)


@pytest.mark.parametrize(
    "images", [torch.rand(2, 4) + 1, torch.full((2, 4), math.nan), torch.ones(2, 4, dtype=torch.uint8)]
)
def test_samples_out_of_bounds_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must"):
        PixelBall("linf", 0.1).at(images)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 4), (2, 3, 4), (2, 1, 5, 5), (3,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_type_and_gradient_context(context: type, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = (x[:, None] if x.ndim == 1 else x.flatten(1)).sum(1, keepdim=True)
            return torch.cat([total, -total], 1)

    with context():
        x = torch.rand(shape).to(dtype)
        found = Adversary(PixelBall("linf", 0.1))(Sum(), x, torch.zeros(shape[0], dtype=torch.long))

    assert found.images.shape == x.shape
    assert found.images.dtype == dtype


def test_targets_are_reached_and_signs_are_right() -> None:
    x, target = torch.rand(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    model = nn.Linear(5, 3)
    logits = model(x).detach()

    for objective in (CrossEntropy(targeted=True), Margin(targeted=True)):
        found = Adversary(PixelBall("linf", 1.0), objective, ProjectedGradient(40, restarts=2))(model, x, target)
        assert_close(found.reached, model(found.images).argmax(1) == target)
        assert (found.values >= objective.at(model, x, target)(x, x)[0] - 1e-5).all()
    value, reached = Margin().at(model, x, target)(x, x)
    wrong = logits.clone().scatter(1, target[:, None], -math.inf).amax(1)
    assert_close(value.detach(), wrong - logits.gather(1, target[:, None])[:, 0])
    assert_close(reached, logits.argmax(1) != target)


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_results_are_ordinary_tensors_without_a_graph_in_any_context(ascent: Ascent, context: type) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with context():
        x, y = batch()
        found = Adversary(pixels_or_else_places(ascent, x), ascent=ascent)(model, x, y)

    for part in (found.images, found.offsets, found.values):
        assert part.grad_fn is None
        assert not part.requires_grad
        assert not part.is_inference()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("count", [0, 1])
def test_empty_and_single_batches_work_with_every_ascent(ascent: Ascent, count: int) -> None:
    x, y = batch(count)
    perturbations = pixels_or_else_places(ascent, x, "l2")
    found = Adversary(perturbations, ascent=ascent)(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), x, y)

    assert found.images.shape == x.shape
    assert found.offsets.shape == perturbations.at(x).centre().shape
    assert found.values.shape == found.reached.shape == found.calls.shape == (count,)


@pytest.mark.parametrize("ascent", ASCENTS)
def test_memory_layout_makes_no_difference(ascent: Ascent) -> None:
    x, y = torch.rand(3, 2, 6, 6), torch.tensor([0, 1, 2])
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    adversary = Adversary(pixels_or_else_places(ascent, x), ascent=ascent)
    plain, last = (
        adversary(model, given, y, generator=torch.Generator().manual_seed(0))
        for given in (x, x.to(memory_format=torch.channels_last))
    )

    assert_close(last.images, plain.images, atol=1e-4, rtol=0)
    assert_close(last.values, plain.values, atol=1e-4, rtol=0)


@pytest.mark.parametrize("ascent", ASCENTS)
def test_attacks_inside_a_training_step_leave_its_gradients_alone(ascent: Ascent) -> None:
    (x, y), model = batch(), nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    model[1].bias.requires_grad_(False)
    nn.functional.cross_entropy(model(x), y).backward()
    before = model[1].weight.grad.clone()
    Adversary(pixels_or_else_places(ascent, x), ascent=ascent)(model, x.requires_grad_(), y)

    assert torch.equal(model[1].weight.grad, before)
    assert model[1].bias.grad is None
    assert not model[1].bias.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("mode", ["eval", "keep"])
def test_statistics_come_back_after_an_exception(mode: str) -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.calls = nn.BatchNorm1d(4), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("enough")
            return self.norm(x)

    model, x = Failing().train(), torch.rand(3, 4)
    random = torch.get_rng_state()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="enough"):
        Adversary(PixelBall("linf", 0.1), mode=mode)(model, x, torch.zeros(3, dtype=torch.long))  # type: ignore[arg-type]

    assert model.training
    assert model.norm.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_keep_attacks_the_model_in_its_own_mode() -> None:
    class Mode(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1), x.sum(1) + (1.0 if self.training else -1.0)], 1)

    x, y = torch.rand(2, 4), torch.zeros(2, dtype=torch.long)
    for mode, reached in (("keep", True), ("eval", False)):
        found = Adversary(PixelBall("linf", 0.1), mode=mode)(Mode().train(), x, y)  # type: ignore[arg-type]
        assert found.reached.tolist() == [reached, reached]


def test_keep_refuses_to_drop_images() -> None:
    with pytest.raises(ValueError, match="drops no image"):
        Adversary(PixelBall("linf", 0.1), ascent=ProjectedGradient(stop_when_reached=True), mode="keep")


def test_without_a_generator_attacks_differ_and_ignore_the_global_seed() -> None:
    x, y = batch()
    adversary = Adversary(PixelBall("linf", 0.2), ascent=RandomSearch(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    offsets = []
    for _ in range(2):
        torch.manual_seed(0)
        offsets.append(adversary(model, x, y).offsets)

    assert not torch.equal(*offsets)


def test_an_ascent_that_does_not_fit_the_set_is_refused() -> None:
    class Picky(RandomSearch):
        def misfit(self, region: Region) -> str | None:
            return f"it wants 3 offsets, got {region.size}: take another" if region.size != 3 else None

    x, y = torch.rand(2, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="ascent must fit the set, got Picky: it wants 3 offsets, got 4"):
        Adversary(PixelBall("linf", 0.1), ascent=Picky())(Flat(), x, y)
