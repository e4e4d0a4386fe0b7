"""Training minimises a maximum: what its search returns is the highest value, also where an image is misclassified."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from perturbsets import (
    MART,
    TRADES,
    AdversarialTraining,
    Adversary,
    CrossEntropy,
    KLDivergence,
    LargerLossTraining,
    Method,
    PixelBall,
    ProjectedGradient,
    RobustValidation,
    Worst,
)
from perturbsets.adversaries.adversary import Rank
from perturbsets.rows import check_choice
from tests.perturbsets.test_training import METHODS, batch, classifier
from tests.perturbsets.training.dual_methods import TRAININGS

BALL = PixelBall("linf", 0.25)
CLIMB = ProjectedGradient(8, step_size=0.2, restarts=24)


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def divergence(model: nn.Module, x: Tensor, changed: Tensor, y: Tensor) -> Tensor:
    p, q = model(x).log_softmax(1), model(changed).log_softmax(1)
    return (p.exp() * (p - q)).sum(1)


def cross_entropy(model: nn.Module, x: Tensor, changed: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(changed), y, reduction="none")


@pytest.mark.parametrize(
    ("method", "value"),
    [
        (TRADES(Adversary(BALL, KLDivergence(), CLIMB)), divergence),
        (MART(Adversary(BALL, CrossEntropy(), CLIMB)), cross_entropy),
        (AdversarialTraining(Worst([Adversary(BALL, CrossEntropy(), CLIMB)], judge=CrossEntropy())), cross_entropy),
        (LargerLossTraining(Adversary(BALL, CrossEntropy(), CLIMB)), cross_entropy),
    ],
    ids=lambda part: type(part).__name__,
)
def test_images_shown_are_the_maximum_of_a_linear_model(method: Any, value: Callable[..., Tensor]) -> None:
    """Both values are convex in the image, so that the maximum over a box lies at one of its 16 corners."""
    torch.manual_seed(0)
    model = nn.Linear(4, 5).double()
    with torch.no_grad():
        model.weight.mul_(16)
    x, y = 0.3 + 0.4 * torch.rand(200, 4, dtype=torch.float64), torch.randint(0, 5, (200,))
    corners = x + 0.25 * torch.tensor(list(itertools.product((-1, 1), repeat=4))).double()[:, None]
    with torch.no_grad():
        highest = torch.stack([value(model, x, corner, y) for corner in corners]).amax(0)
        shown = value(model, x, method.prepare(model, x, y, drawn()), y)

    assert (model(x).argmax(1) == y).float().mean() < 0.4
    assert_close(shown, highest)


def _everything() -> list[tuple[Method, Callable[[], tuple[nn.Module, Tensor, Any]]]]:
    def of_classes() -> tuple[nn.Module, Tensor, Any]:
        return classifier(), *batch()

    def of_labels(
        method: Method, network: Callable[[], nn.Module], data: Callable[[], TensorDataset]
    ) -> Callable[[], tuple[nn.Module, Tensor, Any]]:
        def make() -> tuple[nn.Module, Tensor, Any]:
            images, *told = (part[:6] for part in data().tensors)
            return network(), images, method.targets(told)

        return make

    labels = [(one, of_labels(one, network, data)) for many, network, data in TRAININGS for one in many]
    return [(method, of_classes) for method in METHODS] + labels


@pytest.mark.parametrize(("method", "make"), _everything())
def test_every_method_asks_its_adversaries_for_the_highest_value(
    method: Method, make: Callable[[], tuple[nn.Module, Tensor, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks, call = set[str](), Adversary.__call__

    def watched(self: Adversary, *given: Any, rank: Any = "success", **options: Any) -> Any:
        ranks.add(rank)
        return call(self, *given, rank=rank, **options)

    monkeypatch.setattr(Adversary, "__call__", watched)
    model, images, labels = make()
    for losses, _ in method(model, model, images, labels, drawn()):
        losses.mean().backward()

    assert ranks == ({"value"} if "Adversary(" in repr(method) else set())


def test_validation_counts_successes() -> None:
    """To the right the first class is as wrong as can be, and right again; to the left it is just misclassified."""

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            right = torch.tensor([1.0, 0.9, 0.9]) + x * torch.tensor([0.0, 0.0, 0.0])
            return torch.where(x > 0.5, right, torch.tensor([0.0, 0.2, -9.0]) + 0 * x)

    x, y = torch.full((1, 1), 0.5), torch.tensor([0])
    attack = Adversary(BALL, CrossEntropy(), ProjectedGradient(1, step_size=1e-9, restarts=30))
    ranked = {rank: attack(Model(), x, y, rank=rank, generator=drawn()) for rank in ("success", "value")}

    assert ranked["success"].success.tolist() == [True]
    assert ranked["value"].success.tolist() == [False]
    assert ranked["value"].loss > ranked["success"].loss
    assert RobustValidation(attack, x, y)(Model())["robust_accuracy"] == 0


def test_a_search_that_stops_at_wrong_predictions_is_refused_and_the_advice_works() -> None:
    ascent = ProjectedGradient(2, stop_on_success=True)
    with pytest.raises(ValueError, match="stop_on_success=True: write ") as caught:
        TRADES(Adversary(BALL, KLDivergence(), ascent))
    advised = eval(str(caught.value).partition("write ")[2], {"dataclasses": dataclasses, "ascent": ascent})

    assert advised == dataclasses.replace(ascent, stop_on_success=False)
    TRADES(Adversary(BALL, KLDivergence(), advised))


def test_unknown_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rank must be one of \['success', 'value'\], got 'loss'"):
        check_choice("rank", "loss", Rank)
