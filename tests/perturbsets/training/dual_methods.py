"""Every method for labels once, with what it trains on what; the tests of several processes read this too."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from perturbsets import (
    AdversarialWeightPerturbation,
    Adversary,
    CrossEntropy,
    Method,
    OneStep,
    PixelBall,
    ProjectedGradient,
    SpatialBox,
    Worst,
)
from perturbsets.models import DualConvNet
from perturbsets.multi_label import BinaryCrossEntropy, DualS1, DualS2, MultiLabelTraining

BALL = PixelBall("linf", 0.1)
STEP = OneStep(keep_best=False)
FOOL, OWN = (Adversary(BALL, objective, STEP) for objective in (BinaryCrossEntropy(), CrossEntropy()))
CLIMB = ProjectedGradient(2)


def consistent(class_logits: Tensor, label_logits: Tensor) -> Tensor:
    """A stand-in for rules: class 0 is where label 0 is on."""
    return F.binary_cross_entropy_with_logits(
        class_logits[:, 0] - class_logits[:, 1:].logsumexp(1), label_logits[:, 0].sigmoid(), reduction="none"
    )


def frozen() -> nn.Module:
    """An auxiliary classifier of its own."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


RULES = {"rules": consistent, "rules_weight": 0.5}
LEARNING: list[Method] = [
    DualS1(FOOL),
    DualS1(FOOL, weight=0.3, auxiliary_adversarial=True, auxiliary_weight=2.0),
    DualS1(Adversary(SpatialBox(), BinaryCrossEntropy(), CLIMB), **RULES),
    DualS2(FOOL, OWN),
    DualS2(FOOL, OWN, auxiliary_adversarial=True),
    DualS2(FOOL, Worst([OWN, Adversary(PixelBall("l2", 0.5))]), **RULES),
    DualS2(FOOL, OWN, combine="added", auxiliary_adversarial=True, **RULES),
    DualS2(
        *(Adversary(PixelBall("l2", 0.5), kind(), CLIMB) for kind in (BinaryCrossEntropy, CrossEntropy)),
        combine="added",
    ),
    AdversarialWeightPerturbation(DualS2(FOOL, OWN, **RULES)),
]
HELPED: list[Method] = [
    DualS1(FOOL, auxiliary=frozen()),
    DualS2(FOOL, OWN, auxiliary=frozen(), **RULES),
    DualS2(FOOL, OWN, combine="added", auxiliary=frozen()),
    AdversarialWeightPerturbation(DualS1(FOOL, auxiliary=frozen(), **RULES)),
]


def network(shared: bool = False) -> DualConvNet:
    return DualConvNet(1, 8, 8, classes=4, labels=3, hidden=6, widths=(3, 4), shared=shared)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def data(count: int = 24) -> TensorDataset:
    states = torch.randint(0, 2, (count, 3)).float()
    unknown = torch.rand(count, 3) < 0.3
    unknown[:, 0] = False
    return TensorDataset(
        torch.rand(count, 1, 8, 8), torch.randint(0, 4, (count,)), states.masked_fill(unknown, torch.nan)
    )


def labelled() -> TensorDataset:
    images, _, states = data().tensors
    return TensorDataset(images, states)


LABELLING: list[Method] = [
    MultiLabelTraining(),
    MultiLabelTraining(adversary=FOOL),
    AdversarialWeightPerturbation(MultiLabelTraining(positive=(1.0, 2.0, 3.0), weights=(1.0, 0.0, 2.0))),
]
TRAININGS: list[tuple[list[Method], Callable[[], nn.Module], Callable[[], TensorDataset]]] = [
    (LEARNING[::2], network, data),
    (LEARNING[1::2], lambda: network(shared=True), data),
    (HELPED, classifier, data),
    (LABELLING, frozen, labelled),
]
