"""One change for many images, where the best is known, and beside random ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from augment import RandomCorruption
from perturbsets import (
    Adversary,
    ComposedSet,
    CrossEntropy,
    DrawnChanges,
    FunctionObjective,
    LatentBall,
    Margin,
    PerturbationSet,
    PixelBall,
    SpatialBox,
    find_universal,
)

STATES = FunctionObjective(
    lambda logits, states: torch.where(states.isnan(), 0, (1 - 2 * states.nan_to_num(0)) * logits).clamp_max(1).sum(1),
    success=lambda logits, states: (((logits > 0) != (states == 1)) & ~states.isnan()).any(1),
)
"""Some known label is wrong."""


def network(outputs: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 30), nn.Tanh(), nn.Dropout(), nn.Linear(30, outputs))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("norm", "dual"), [("l1", math.inf), ("l2", 2.0), ("linf", 1.0)])
def test_linear_models_get_the_steepest_offsets_of_the_whole_radius(norm: Any, dual: float) -> None:
    model, x = nn.Linear(6, 2).double(), torch.randn(50, 6, dtype=torch.float64)
    labels = torch.zeros(50, dtype=torch.long)
    found = find_universal(
        PixelBall(norm, 0.5, bounds=(-9.0, 9.0)), Margin(), model, x, labels, batch=16, generator=draws()
    )
    weights = (model.weight[1] - model.weight[0]).detach()

    # Hölder: the largest <w, u> over ||u|| <= r is r times the dual norm of w.
    assert_close((found.offsets @ weights).squeeze(), 0.5 * weights.norm(p=dual), rtol=1e-6, atol=0)
    assert_close(found.images(x), x + found.offsets)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_the_ball_is_shared_and_each_image_keeps_to_its_bounds(norm: Any) -> None:
    model, x = network(), torch.rand(40, 1, 6, 6).round()  # every value at a bound
    radius = {"l1": 6.0, "l2": 1.5, "linf": 0.3}[norm]
    labels = model.eval()(x).argmax(1)
    found = find_universal(PixelBall(norm, radius), CrossEntropy(), model, x, labels, generator=draws())
    size = torch.linalg.vector_norm(found.offsets, {"l1": 1, "l2": 2, "linf": math.inf}[norm])

    assert 0 < size <= radius * (1 + 1e-5)
    changed = found.images(x)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert_close(changed, (x + found.offsets.view(1, 1, 6, 6)).clamp(0, 1), rtol=0, atol=1e-5)


def test_images_say_nothing_of_values_at_which_they_are_cut() -> None:
    """Two images of three stand at 0 and want less there, the third wants more; all want more beside."""
    x, wish = torch.tensor([[0.0, 0.5]] * 2 + [[0.5, 0.5]]), torch.tensor([[-2.0, 1.0]] * 2 + [[1.0, 1.0]])
    objective = FunctionObjective(lambda images, labels: (labels * images).sum(1))
    found = find_universal(PixelBall("linf", 0.2), objective, None, x, wish, batch=3, epochs=60, generator=draws())

    # More than 0 hurts two images, less than 0 the third: only slopes that pass the bounds would go there.
    assert_close(found.offsets, torch.tensor([[0.0, 0.2]]), rtol=0, atol=1e-2)


@pytest.mark.parametrize("kind", ["classes", "states"])
def test_changes_turn_new_images_more_often_than_random_ones(kind: str) -> None:
    model, x = network().eval(), torch.rand(200, 1, 6, 6)
    objective: Any = CrossEntropy() if kind == "classes" else STATES
    logits = model(x).detach()
    labels = logits.argmax(1) if kind == "classes" else (logits > 0).float()
    if kind == "states":
        labels[::3, 1:] = math.nan
    chosen = PixelBall("l2", 0.8)
    found = find_universal(chosen, objective, model, x[:100], labels[:100], generator=draws())

    def share(images: Tensor) -> float:
        _, success = objective.at(model, x[100:], labels[100:])(images, images.flatten(1))
        return float(success.float().mean())

    random = max(
        share(
            chosen.at(x[100:]).decode(
                chosen.at(x[100:]).project(0.8 * nn.functional.normalize(u[None]).expand(100, 36))
            )
        )
        for u in torch.randn(20, 36)
    )
    single = Adversary(chosen, objective)(model, x[100:], labels[100:], generator=draws())
    assert random + 0.1 < share(found.images(x[100:])) <= float(single.success.float().mean())


@pytest.mark.parametrize(
    "perturbations",
    [SpatialBox(), ComposedSet([SpatialBox(), PixelBall("linf", 0.1)])],
    ids=["spatial", "composed"],
)
def test_any_set_whose_offsets_compare_has_one(perturbations: PerturbationSet) -> None:
    model, x = network().eval(), torch.rand(30, 1, 6, 6)
    labels = model(x).argmax(1)
    found = find_universal(perturbations, CrossEntropy(), model, x, labels, generator=draws())
    before, after = (nn.functional.cross_entropy(model(images), labels) for images in (x, found.images(x)))

    assert found.offsets.shape == (1, perturbations.at(x).size)
    assert after > before


def test_latent_sets_have_one(linear_cvae: Any) -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), torch.rand(20, 1, 2, 3)
    chosen = LatentBall(linear_cvae(), 2.0)
    found = find_universal(chosen, Margin(), model, x, torch.zeros(20, dtype=torch.long), generator=draws())
    with torch.no_grad():
        away = [model(chosen.at(x[:1]).decode(offset[None])) for offset in (*torch.eye(2), torch.zeros(2))]
    slope = torch.stack([(there - away[-1])[0, 1] - (there - away[-1])[0, 0] for there in away[:2]])

    assert_close(found.offsets, 2 * nn.functional.normalize(slope[None]), rtol=1e-4, atol=1e-4)  # differences


def test_models_stay_as_they_were_and_the_same_draws_give_the_same_change() -> None:
    model, x = network().train(), torch.rand(20, 1, 6, 6)
    labels = torch.zeros(20, dtype=torch.long)
    before, copy, state = {k: v.clone() for k, v in model.state_dict().items()}, x.clone(), torch.get_rng_state()
    with torch.no_grad():
        first, second = (
            find_universal(PixelBall("linf", 0.1), CrossEntropy(), model, x, labels, batch=7, generator=draws())
            for _ in range(2)
        )

    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, copy)
    assert not first.offsets.requires_grad
    assert torch.equal(first.offsets, second.offsets)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_one_image_and_other_types(dtype: torch.dtype) -> None:
    model, x = network().to(dtype), torch.rand(1, 1, 6, 6).to(dtype)
    found = find_universal(PixelBall("l2", 0.5), CrossEntropy(), model, x, torch.tensor([0]), epochs=2)

    assert found.images(x).dtype == dtype
    assert found.images(x[:0]).shape == (0, 1, 6, 6)


@pytest.mark.parametrize(
    ("perturbations", "settings", "words"),
    [
        (PixelBall("l2", 0.5), {"epochs": 0}, "epochs, batch and the number of images must be at least 1"),
        (PixelBall("l2", 0.5), {"step_size": 0.0}, "step_size above 0"),
        (PixelBall("l2", torch.full((4,), 0.5)), {}, "one radius for a change that is shared"),
        (PixelBall("l2", math.inf), {}, "step_size must be given where the radius is infinite"),
        (DrawnChanges(RandomCorruption()), {}, "a set that can be climbed, got DrawnChanges"),
    ],
)
def test_others_are_refused(perturbations: PerturbationSet, settings: dict[str, Any], words: str) -> None:
    x, labels = torch.rand(4, 1, 6, 6), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=words):
        find_universal(perturbations, CrossEntropy(), network(), x, labels, **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_labels_go_where_images_are() -> None:
    x, labels = torch.rand(4, 1, 6, 6, device="cuda"), torch.zeros(4, dtype=torch.long)
    found = find_universal(PixelBall("l2", 0.5), CrossEntropy(), network().cuda(), x, labels, epochs=1)

    assert found.images(x).is_cuda


def test_images_and_values_that_do_not_fit_are_refused() -> None:
    x, labels = torch.rand(4, 1, 6, 6), torch.zeros(4, dtype=torch.long)
    found = find_universal(PixelBall("l2", 0.5), CrossEntropy(), network(), x, labels, epochs=1)

    with pytest.raises(ValueError, match=r"the set has 36 offsets, .* got 25"):
        found.images(torch.rand(4, 1, 5, 5))
    with pytest.raises(ValueError, match=r"at least 1 .* 0 images"):
        find_universal(PixelBall("l2", 0.5), CrossEntropy(), network(), x[:0], labels[:0])
    broken = FunctionObjective(lambda images, _: images.flatten(1).sum(1) * math.nan)
    with pytest.raises(ValueError, match="finite values, got NaN or infinity on 4 images"):
        find_universal(PixelBall("l2", 0.5), broken, None, x, labels)
    steep = FunctionObjective(lambda images, _: (images - images.detach()).flatten(1).sum(1).sqrt())
    with pytest.raises(ValueError, match="finite gradients, got NaN or infinity in a batch"):
        find_universal(PixelBall("l2", 0.5), steep, None, x, labels)
