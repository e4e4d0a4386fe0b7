"""Every set with every objective and every ascent, by what must hold for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.testing import assert_close

from augment import SpatialChange
from perturbsets import (
    APGD,
    DLR,
    Adversary,
    ApproximationError,
    Ascent,
    ComposedSet,
    CrossEntropy,
    FeatureDistance,
    FunctionObjective,
    GradientAscent,
    GridSearch,
    KLDivergence,
    LatentBall,
    LinearFeatureDistance,
    Loss,
    Margin,
    Objective,
    OneStep,
    Penalized,
    PerturbationSet,
    PixelBall,
    ProjectedAdam,
    ProjectedGradient,
    ProjectedLBFGS,
    RandomSearch,
    Region,
    SegmentationCrossEntropy,
    SpatialBox,
    Square,
    StrongestWrong,
)
from perturbsets.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, TopK
from perturbsets.sets import LinfBall
from tests.perturbsets.every_ascent import ASCENTS, is_stopping

DOUBLE = torch.float64
RADII = torch.tensor([1.0, 0.4, 0.0], dtype=DOUBLE)  # one per image


@dataclass(frozen=True)
class Lighting(PerturbationSet):
    """A set that a user might write: contrast and brightness."""

    radius: float | Tensor

    def at(self, images: Tensor) -> Region:
        return Lit(images, LinfBall(self.radius))


class Lit(Region):
    def __init__(self, images: Tensor, ball: LinfBall) -> None:
        self.images, self.ball = images, ball

    @property
    def size(self) -> int:
        return 2

    def decode(self, offsets: Tensor) -> Tensor:
        contrast, brightness = offsets.view(-1, 2, 1, 1, 1).unbind(1)
        return (self.images * (1 + 0.2 * contrast) + 0.1 * brightness).clamp(0, 1).to(self.images.dtype)

    def select(self, rows: Tensor) -> Lit:
        return Lit(self.images[rows], self.ball.select(rows))


CHANGE = SpatialChange(rotation=20.0, scale=(0.8, 1.2), shift=0.1, shear=10.0)
SETS: dict[str, Callable[[Any], PerturbationSet]] = {
    "l1": lambda cvae: PixelBall("l1", RADII),
    "l2": lambda cvae: PixelBall("l2", 0.5 * RADII),
    "linf": lambda cvae: PixelBall("linf", 0.2 * RADII),
    "places": lambda cvae: SpatialBox(CHANGE, radius=RADII),
    "learned": lambda cvae: LatentBall(cvae, 0.6 * RADII),
    "learned-pixels": lambda cvae: ComposedSet([LatentBall(cvae, 0.6 * RADII), PixelBall("linf", 0.1)]),
    "places-pixels": lambda cvae: ComposedSet([SpatialBox(CHANGE), PixelBall("l2", 0.2)], radius=RADII),
    "own": lambda cvae: Lighting(RADII),
}


class Counting(nn.Module):
    """Counts the images it is asked about."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.count = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += len(x)
        return self.inner(x)


def classifier(dtype: torch.dtype = DOUBLE) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).to(dtype)


def segmenter() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)).to(DOUBLE)


def images(dtype: torch.dtype = DOUBLE) -> Tensor:
    torch.manual_seed(5)
    return 0.3 + 0.4 * torch.rand(3, 1, 2, 3).to(dtype)  # the linear generator knows no bounds: keep away from them


def classes() -> Tensor:
    return classifier()(images()).argmax(1)


def maps() -> Tensor:
    return segmenter()(images()).argmax(1).index_fill(2, torch.tensor([1]), 255)


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.softmax(1).gather(1, labels[:, None])[:, 0]


def is_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(1) != labels


@dataclass(frozen=True)
class Aim:
    """An objective with its model, its labels, the forward passes that binding takes, and whether each call is one."""

    objective: Objective
    labels: Callable[[], Tensor] = classes
    model: Callable[[], nn.Module] | None = classifier
    binding: int = 0
    asks: bool = True  # the model itself at each call


def targets() -> Tensor:
    return (classes() + 1) % 5


def states() -> Tensor:
    """What the model says of its five labels, some of it unknown; each image has labels that are on and off."""
    predicted = (classifier()(images()) > 0).to(DOUBLE)
    return predicted.index_fill(1, torch.tensor([2]), math.nan)


def patterns() -> Tensor:
    return 1 - states()


def guides() -> Tensor:
    return images().roll(1, 0)


AIMS: dict[str, Aim] = {
    "cross-entropy": Aim(CrossEntropy()),
    "cross-entropy to": Aim(CrossEntropy(targeted=True), targets),
    "margin": Aim(Margin()),
    "margin to": Aim(Margin(targeted=True), targets),
    "dlr": Aim(DLR()),
    "dlr to": Aim(DLR(targeted=True), targets),
    "strongest wrong": Aim(StrongestWrong(), binding=1),
    "third wrong": Aim(StrongestWrong(3, objective=CrossEntropy(targeted=True)), binding=1),
    "divergence": Aim(KLDivergence(), binding=1),
    "segmentation": Aim(SegmentationCrossEntropy(goal=0.5), maps, segmenter),
    "function": Aim(FunctionObjective(confidence, success=is_wrong)),
    "priced": Aim(Penalized(CrossEntropy(targeted=True), weight=0.3), targets),
    "priced per image": Aim(Penalized(KLDivergence(), weight=torch.tensor([0.1, 0.0, 2.0]).double()), binding=1),
    "approximation": Aim(ApproximationError(), lambda: images().flip(0), None),
    "labels": Aim(BinaryCrossEntropy(weights=(1.0, 2.0, 1.0, 0.5, 1.0)), states),
    "labels to": Aim(BinaryCrossEntropy(targeted=True), patterns),
    "label margin": Aim(LabelMargin(scores="probabilities", confidence=0.1, goal="all"), states),
    "label margin to": Aim(LabelMargin(targeted=True), patterns),
    "ranking": Aim(LabelRanking(), states),
    "ranking to": Aim(LabelRanking(targeted=True), patterns),
    "top k": Aim(TopK(1, smooth=True), states),
    "top k to": Aim(TopK(2, targeted=True), patterns),
    "features": Aim(FeatureDistance("*[23]", ratio=0.9), guides, binding=2),
    "linear features": Aim(LinearFeatureDistance("*[23]", activation="none"), guides, binding=2, asks=False),
}


class Watched(Objective):
    """An objective that takes down what its losses say of which images."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def at(self, model: nn.Module | None, images: Tensor, labels: Any) -> Loss:
        return WatchedLoss(self.objective.at(model, images, labels), torch.arange(len(images)), self.seen)


class WatchedLoss(Loss):
    def __init__(self, loss: Loss, rows: Tensor, seen: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        self.loss, self.rows, self.seen, self.calls = loss, rows, seen, loss.calls

    def __call__(self, images: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        value, success = self.loss(images, offsets)
        self.seen.append((self.rows, value.detach(), success))
        return value, success

    def select(self, rows: Tensor) -> WatchedLoss:
        return WatchedLoss(self.loss.select(rows), self.rows[rows], self.seen)


def fitted(ascent: Ascent, region: Region) -> Ascent:
    """The ascent itself, a grid with two of the coordinates only: 9 points."""
    return replace(ascent, points=(2, 3) + (1,) * (region.size - 2)) if isinstance(ascent, GridSearch) else ascent


def starts_at_zero(ascent: Ascent) -> bool:
    return isinstance(ascent, GradientAscent | GridSearch) or getattr(ascent, "starts", "") == "zero"


@pytest.fixture(scope="module")
def cvae(linear_cvae: Any) -> Any:
    return linear_cvae().double().requires_grad_(False)


# Every kind of ascent with every objective, in the form that asks most of it: the losses of some of the images, or
# several starts. The other forms differ in what they make of gradients, and meet two objectives each.
DEMANDING = [a for a in ASCENTS if is_stopping(a) or isinstance(a, OneStep | RandomSearch)]
CELLS = [(aim, ascent) for aim in AIMS for ascent in ASCENTS if ascent in DEMANDING or aim in ("margin", "divergence")]


def test_no_kind_of_ascent_is_left_out_of_the_product() -> None:
    assert {type(ascent) for ascent in DEMANDING} == {type(ascent) for ascent in ASCENTS}


def first_that_fits(ascent: Ascent, number: int, cvae: Any, kinds: Sequence[str], dtype: torch.dtype = DOUBLE) -> str:
    """The set whose turn it is, or the next one that the ascent fits: neighbours in a list of cells get other sets."""
    turns = [kinds[(number + turn) % len(kinds)] for turn in range(len(kinds))]
    return next(kind for kind in turns if misfit(ascent, SETS[kind](cvae), dtype) is None)


def misfit(ascent: Ascent, perturbations: PerturbationSet, dtype: torch.dtype = DOUBLE) -> str | None:
    region = perturbations.at(images(dtype))
    return fitted(ascent, region).misfit(region)


@pytest.mark.parametrize("number", range(len(CELLS)), ids=lambda number: "-".join(map(str, CELLS[number]))[:60])
def test_whatever_is_found_is_inside_the_best_seen_and_honestly_counted(number: int, cvae: Any) -> None:
    aim, ascent = CELLS[number]
    check_cell(first_that_fits(ascent, number, cvae, list(SETS)), aim, ascent, cvae)


@pytest.mark.slow
@pytest.mark.parametrize(("aim", "ascent"), CELLS)
@pytest.mark.parametrize("kind", SETS)
def test_every_cell_holds_in_every_set(kind: str, aim: str, ascent: Ascent, cvae: Any) -> None:
    if misfit(ascent, SETS[kind](cvae)) is not None:
        pytest.skip("does not fit")
    check_cell(kind, aim, ascent, cvae)


def check_cell(kind: str, aim: str, ascent: Ascent, cvae: Any) -> None:
    perturbations, chosen, x = SETS[kind](cvae), AIMS[aim], images()
    region, labels = perturbations.at(x), chosen.labels()
    ascent = fitted(ascent, region)
    watched = Watched(chosen.objective)
    model = None if chosen.model is None else Counting(chosen.model())
    found = Adversary(perturbations, watched, ascent)(model, x, labels, generator=torch.Generator().manual_seed(1))

    assert_close(found.images, region.decode(found.offsets), rtol=0, atol=1e-12)
    assert_close(found.offsets, region.project(found.offsets), rtol=0, atol=1e-12)
    assert (region.ball.norm(found.offsets) <= region.ball.radii(found.offsets)[:, 0] * (1 + 1e-12)).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert torch.equal(x, images())

    told: list[list[tuple[bool, float]]] = [[], [], []]
    for rows, values, success in watched.seen:
        for row, value, goal in zip(rows.tolist(), values.tolist(), success.tolist(), strict=True):
            told[row].append((goal, value))
    assert list(zip(found.success.tolist(), found.loss.tolist(), strict=True)) == [max(each) for each in told]
    assert found.calls.tolist() == [len(each) + chosen.binding for each in told]
    assert model is None or not chosen.asks or model.count == found.calls.sum()

    fresh = chosen.objective.at(None if chosen.model is None else chosen.model(), x, labels)
    again, at_zero = (fresh(region.decode(u), u) for u in (found.offsets, region.centre()))
    assert_close(found.loss, again[0].detach(), rtol=1e-9, atol=1e-12)
    assert torch.equal(found.success, again[1])
    if starts_at_zero(ascent):
        assert (found.success | ~at_zero[1]).all()
        same = found.success == at_zero[1]
        assert (found.loss >= at_zero[0] - 1e-12)[same].all()


KINDS = [kind for kind in SETS if "learned" not in kind]


@pytest.mark.parametrize("number", range(len(ASCENTS)))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_found_is_inside_in_other_types_too(number: int, dtype: torch.dtype) -> None:
    check_type(first_that_fits(ASCENTS[number], number, None, KINDS, dtype), ASCENTS[number], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_hold_in_every_set(kind: str, ascent: Ascent, dtype: torch.dtype) -> None:
    if misfit(ascent, SETS[kind](None), dtype) is not None:
        pytest.skip("does not fit")
    check_type(kind, ascent, dtype)


def check_type(kind: str, ascent: Ascent, dtype: torch.dtype) -> None:
    perturbations, x = SETS[kind](None), images(dtype)
    region = perturbations.at(x)
    ascent = fitted(ascent, region)
    found = Adversary(perturbations, Margin(), ascent)(classifier(dtype), x, classes())

    # Offsets of halves count in single precision.
    assert (region.ball.norm(found.offsets) <= region.ball.radii(found.offsets)[:, 0] * (1 + 1e-6)).all()
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert_close(found.images, region.decode(found.offsets), rtol=0, atol=0 if dtype == torch.bfloat16 else 1e-6)


SHAPE = (4, 1, 3, 4)
STEADY: list[Ascent] = [
    GradientAscent(step_size=0.5, steps=100),
    ProjectedGradient(100),
    ProjectedGradient(100, momentum=0.5),
    ProjectedGradient(50, restarts=2),
    ProjectedGradient(100, schedule="linear"),
    ProjectedGradient(100, schedule="cosine"),
    APGD(100),
    APGD(100, starts="zero"),
    ProjectedLBFGS(50),
    ProjectedLBFGS(50, starts="uniform", restarts=2),
]


def two_classes() -> tuple[nn.Module, Tensor]:
    """A linear model and the gradient of its margin, from class 0 to class 1."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).to(DOUBLE)
    return model, (model[1].weight[1] - model[1].weight[0]).detach()


def most(norm: str, radius: float, slopes: Tensor, low: Tensor, high: Tensor) -> float:
    """The largest <w, u> with u in ball and box: linear programmes, and for L2 the multiplier by Brent's method."""
    if norm == "linf":
        return -optimize.linprog(
            (-slopes).tolist(), bounds=torch.stack([low.clamp(-radius), high.clamp(max=radius)], 1).tolist()
        ).fun
    if norm == "l1":  # in the positive and the negative part
        parts = torch.cat([slopes, -slopes])
        bounds = [(0, limit) for limit in torch.cat([high, -low]).tolist()]
        return -optimize.linprog((-parts).tolist(), A_ub=[[1.0] * len(parts)], b_ub=[radius], bounds=bounds).fun

    def at(length: float) -> Tensor:
        return (length * slopes).clamp(low, high)

    if at(1e9).norm() <= radius:
        return float(at(1e9) @ slopes)
    return float(at(optimize.brentq(lambda length: float(at(length).norm()) - radius, 0, 1e9, xtol=1e-12)) @ slopes)


@pytest.mark.parametrize("ascent", [*STEADY, OneStep(), OneStep(step_size=5.0)])
@pytest.mark.parametrize(("norm", "dual"), [("l1", math.inf), ("l2", 2), ("linf", 1)])
def test_linear_margins_rise_by_radius_times_dual_norm(norm: Any, dual: float, ascent: Ascent) -> None:
    model, slopes = two_classes()
    x, y = torch.full(SHAPE, 0.5, dtype=DOUBLE), torch.tensor([0, 1, 0, 1])
    radius = torch.tensor([0.3, 0.2, 0.1, 0.05], dtype=DOUBLE)
    clean = Margin().at(model, x, y)(x, x.flatten(1))[0].detach()
    found = Adversary(PixelBall(norm, radius), Margin(), ascent)(
        model, x, y, generator=torch.Generator().manual_seed(0)
    )

    best = radius * slopes.norm(p=dual)  # Hölder: the most a ball can add
    assert (found.loss - clean <= best + 1e-9).all()
    assert (found.loss - clean >= 0.99 * best).all()


@pytest.mark.parametrize("ascent", STEADY)
@pytest.mark.parametrize(("norm", "radius"), [("l1", 1.5), ("l2", 0.7), ("linf", 0.3)])
def test_linear_margins_rise_to_the_optimum_of_ball_and_bounds(norm: Any, radius: float, ascent: Ascent) -> None:
    model, slopes = two_classes()
    x, y = torch.rand(SHAPE, dtype=DOUBLE), torch.tensor([0, 1, 0, 1])
    x[3] = x[3].round()  # all pixels at a bound
    clean = Margin().at(model, x, y)(x, x.flatten(1))[0].detach()
    found = Adversary(PixelBall(norm, radius), Margin(), ascent)(
        model, x, y, generator=torch.Generator().manual_seed(0)
    )

    for row in range(4):
        uphill, at = slopes if y[row] == 0 else -slopes, x[row].flatten()
        best, rise = most(norm, radius, uphill, -at, 1 - at), float((found.loss - clean)[row])
        assert 0.99 * best <= rise <= best + 1e-9


@pytest.mark.parametrize("ascent", [ProjectedAdam(100), ProjectedAdam(100, schedule="cosine"), OneStep(), Square(2500)])
def test_those_who_follow_signs_reach_the_optimum_of_the_cube(ascent: Ascent) -> None:
    """Adam's step has the sign of a constant gradient in every pixel, as the corner of a cube has, but no other ball;
    one step along the gradient misses where bounds cut a ball that is no box; and squares turn corner by corner.
    A few random draws, or points of a coarse grid over many pixels, come near to no optimum.
    """
    model, slopes = two_classes()
    x, y = torch.rand(SHAPE, dtype=DOUBLE), torch.tensor([0, 1, 0, 1])
    found = Adversary(PixelBall("linf", 0.3), Margin(), ascent)(model, x, y, generator=torch.Generator().manual_seed(0))
    uphill = torch.stack([slopes, -slopes, slopes, -slopes]).sign().view(SHAPE)

    assert_close(found.images, (x + 0.3 * uphill).clamp(0, 1), rtol=0, atol=1e-9)


def test_grids_reach_the_optimum_of_a_cube_of_few_pixels() -> None:
    model = nn.Linear(4, 2).to(DOUBLE)
    x, y = torch.rand(5, 4, dtype=DOUBLE), torch.zeros(5, dtype=torch.long)
    found = Adversary(PixelBall("linf", 0.3), Margin(), GridSearch(2))(model, x, y)
    uphill = (model.weight[1] - model.weight[0]).detach().sign()

    assert_close(found.images, (x + 0.3 * uphill).clamp(0, 1), rtol=0, atol=1e-12)


def test_draws_rise_with_their_number_and_never_beyond_the_optimum() -> None:
    model, slopes = two_classes()
    x, y = torch.full(SHAPE, 0.5, dtype=DOUBLE), torch.zeros(4, dtype=torch.long)
    clean = Margin().at(model, x, y)(x, x.flatten(1))[0].detach()
    few, many = (
        Adversary(PixelBall("l2", 0.3), Margin(), RandomSearch(draws))(
            model, x, y, generator=torch.Generator().manual_seed(0)
        ).loss
        - clean
        for draws in (3, 300)
    )

    assert (few <= many).all()
    assert (many <= 0.3 * slopes.norm()).all()
