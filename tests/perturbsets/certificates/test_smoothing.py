from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

from perturbsets import ComposedSet, LatentBall, PerturbationSet, PixelBall, Region, Smoothed, SpatialBox
from perturbsets.certificates import ABSTAIN
from perturbsets.certificates.classification import winners
from perturbsets.certificates.votes import agreements_needed
from perturbsets.sets.balls import L2Ball
from perturbsets.share_bounds import share_at_least
from tests.perturbsets.certificates.linear import KINDS, WIDE, case, distances, two_classes


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spread_images(count: int = 40) -> Tensor:
    return torch.linspace(0, 1, count)[:, None, None, None] * torch.rand(count, 1, 2, 3)


class Counted(nn.Module):
    """Counts passes and images, and keeps what it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.sizes, self.seen = inner, [], []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        self.seen.append(images.clone())
        return self.inner(images)


class Constant(nn.Module):
    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_radius_of_a_linear_classifier_is_its_distance_within_monte_carlo_error(
    kind: str, linear_cvae: Any
) -> None:
    perturbations, sigma, unit = case(kind, linear_cvae)
    images, model, draws = spread_images(), two_classes(-0.4), 4000
    distance = distances(model, images, kind, linear_cvae)
    result = Smoothed(model, perturbations, sigma, batch=4096).certify(
        images, selection=200, draws=draws, alpha=0.001, generator=draw()
    )

    assert (distance.abs() < 1).any()  # some are near the boundary,
    assert (distance.abs() > 1).any()  # some are not,
    assert (distance < -0.4).any()  # and there are both classes
    assert (distance > 0.4).any()
    clear = distance.abs() > 0.4  # so that 200 draws guess right
    assert torch.equal(result.classes[clear], (distance > 0)[clear].long())
    # Votes for the guess are binomial; of 40 images none should be out of an interval of 1e-6.
    share = torch.from_numpy(stats.norm.cdf(distance.abs().numpy()))
    low, high = (torch.from_numpy(stats.binom.ppf(q, draws, share.numpy())) for q in (5e-7, 1 - 5e-7))
    full = clear & (result.taken == draws)
    assert (((low <= result.agreed) & (result.agreed <= high)) | ~full).all()
    # So the radius lies between the distance and the radius of so few votes.
    least = unit * torch.special.ndtri(share_at_least(low.long(), draws, 0.001)).clamp_min(0)
    assert ((result.radii <= unit * distance.abs()) & (least <= result.radii)).where(clear, torch.tensor(True)).all()
    near = clear & (distance.abs() < 2)
    assert (unit * distance.abs() - result.radii)[near].max() < 0.25 * unit


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_distance_the_vote_turns(kind: str, linear_cvae: Any) -> None:
    perturbations, sigma, _ = case(kind, linear_cvae)
    images, model = spread_images(5), two_classes(-0.4)
    distance = distances(model, images, kind, linear_cvae)
    smoothed = Smoothed(model, perturbations, sigma)
    region = smoothed.standardized.at(images)
    offsets = region.centre().requires_grad_()
    logits = model(region.decode(offsets))
    (slope,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), offsets)
    away = -(slope / slope.norm(dim=1, keepdim=True)) * distance.to(slope)[:, None]

    for times, sign in ((0.9, 1), (1.1, -1)):
        moved = model(region.decode(times * away)).detach()
        assert torch.equal((moved[:, 1] - moved[:, 0]).sign(), sign * distance.sign().to(moved))


def test_a_radius_is_too_large_as_often_as_alpha_and_no_more() -> None:
    model, distance, alpha, repeats = two_classes(), 0.5, 0.1, 3000
    slope = model[1].weight[1].detach()  # type: ignore[index, union-attr, operator]
    image = (0.3 * distance * slope / slope.norm()).view(1, 1, 2, 3).expand(repeats, -1, -1, -1)
    wide = PixelBall("l2", 1.0, bounds=(-math.inf, math.inf))
    result = Smoothed(model, wide, 0.3, batch=4096).certify(
        image, selection=200, draws=60, alpha=alpha, generator=draw()
    )

    assert (result.classes != 0).all()
    wrong = int((result.radii > 0.3 * distance).sum())
    assert stats.binomtest(wrong, repeats, alpha, alternative="greater").pvalue > 0.01
    # Counts are whole, so that the bound's own chance of error is somewhat below alpha: this is what it is.
    share = float(stats.norm.cdf(distance))
    possible = share_at_least(torch.arange(61), 60, alpha)
    exact = float(stats.binom.pmf(range(61), 60, share)[(possible > share).numpy()].sum())
    assert 0.02 < exact <= alpha
    assert abs(wrong / repeats - exact) < 5 * math.sqrt(exact / repeats)


@pytest.mark.parametrize("distance", [0.0, 0.1])
def test_predict_returns_a_wrong_class_at_most_as_often_as_alpha(distance: float) -> None:
    model, alpha, repeats = two_classes(), 0.05, 3000
    slope = model[1].weight[1].detach()  # type: ignore[index, union-attr, operator]
    image = (0.3 * distance * slope / slope.norm()).view(1, 1, 2, 3).expand(repeats, -1, -1, -1)
    classes = Smoothed(model, WIDE, 0.3, batch=4096).predict(image, draws=99, alpha=alpha, generator=draw())

    wrong = int((classes == 0).sum() + ((classes == 1).sum() if not distance else 0))  # at a tie both are
    exact = 2 * stats.binom.cdf(39, 99, 0.5)  # two-sided: 60 votes or more of 99 for one class
    assert 0.03 < exact <= alpha
    assert wrong <= repeats * exact + 4 * math.sqrt(repeats * exact)
    if not distance:
        assert wrong >= repeats * exact - 4 * math.sqrt(repeats * exact)
    assert (classes == ABSTAIN).any()


def test_predict_abstains_by_the_exact_two_sided_test() -> None:
    counts = [[60, 40, 0], [61, 39, 0], [45, 10, 45], [62, 30, 8], [0, 100, 0], [33, 33, 34]]
    chances = [stats.binomtest(max(row), sum(sorted(row)[1:]), 0.5).pvalue for row in counts]
    wanted = [row.index(max(row)) if chance <= 0.04 else ABSTAIN for row, chance in zip(counts, chances, strict=True)]

    assert winners(torch.tensor(counts), 0.04).tolist() == wanted == [ABSTAIN, 0, ABSTAIN, 0, 1, ABSTAIN]


def test_early_abstention_changes_no_outcome() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))  # votes shared among classes
    counted, draws = Counted(model), 400
    smoothed, images = Smoothed(counted, WIDE, 3.0), torch.rand(60, 1, 2, 3)
    result = smoothed.certify(images, selection=20, draws=draws, alpha=0.01, generator=draw(2))
    asked = sum(counted.sizes)
    every = smoothed.count_votes(images, draws, "certification", seeds=result.seeds)
    guesses = smoothed.count_votes(images, 20, "selection", seeds=result.seeds).argmax(1)

    agreed = every.gather(1, guesses[:, None])[:, 0]
    stopped = result.taken < draws
    assert 5 < stopped.sum() < 60
    assert torch.equal(result.agreed[~stopped], agreed[~stopped])
    needed = int((share_at_least(torch.arange(draws + 1), draws, 0.01) <= 0.5).sum())
    assert (agreed[stopped] < needed).all()
    assert torch.equal(result.certified, share_at_least(agreed, draws, 0.01) > 0.5)
    assert asked == 60 * 20 + int(result.taken.sum())


@given(draws=st.integers(1, 3000), share=st.floats(0.5, 0.95), level=st.floats(1e-6, 0.3))
def test_agreements_needed_is_the_first_count_that_chance_alone_rarely_gives(
    draws: int, share: float, level: float
) -> None:
    if share**draws > level:
        with pytest.raises(ValueError, match=f"draws must be at least {math.ceil(math.log(level) / math.log(share))}"):
            agreements_needed(draws, share, level)
        return
    found = agreements_needed(draws, share, level)

    assert stats.binom.sf(found - 1, draws, share) <= level * (1 + 1e-9)
    assert stats.binom.sf(found - 2, draws, share) > level * (1 - 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_alone_has_the_votes_it_has_in_a_batch_whatever_the_passes(kind: str, linear_cvae: Any) -> None:
    perturbations, sigma, _ = case(kind, linear_cvae)
    images, model = spread_images(6).double(), two_classes(-0.4).double()
    whole = Smoothed(model, perturbations, sigma, batch=1000).certify(
        images, selection=30, draws=200, alpha=0.01, generator=draw()
    )

    for batch in (1, 7, 64):
        again = replace(Smoothed(model, perturbations, sigma), batch=batch)
        same = again.certify(images[2:5], selection=30, draws=200, alpha=0.01, seeds=whole.seeds[2:5])
        for name in ("classes", "radii", "shares", "agreed", "taken"):
            assert torch.equal(getattr(same, name), getattr(whole, name)[2:5]), name
    first = Smoothed(model, perturbations, sigma).certify(
        images[:1], selection=30, draws=200, alpha=0.01, generator=draw()
    )
    assert torch.equal(first.agreed, whole.agreed[:1])


def test_the_noise_is_standard_normal_and_independent_between_draws_images_and_streams() -> None:
    counted = Counted(Constant([1.0, 0.0]))
    images = torch.zeros(3, 1, 2, 2)
    smoothed = Smoothed(counted, PixelBall("l2", 1.0, bounds=(-math.inf, math.inf)), 0.5, batch=10_000)
    smoothed.certify(images, selection=1500, draws=1500, alpha=0.01, generator=draw())
    selection, *rounds = (seen.flatten(1).view(3, -1, 4) / 0.5 for seen in counted.seen)
    noise = torch.cat([selection, torch.cat(rounds, 1)], 1).double()  # [image, draw, pixel]

    assert noise.shape == (3, 3000, 4)
    for image in noise:
        assert stats.kstest(image.flatten().numpy(), "norm").pvalue > 0.001
    halves = noise.view(3, 2, 1500, 4).transpose(2, 3).reshape(24, 1500)  # by image, stream and pixel
    correlations = torch.corrcoef(halves)[~torch.eye(24, dtype=torch.bool)]
    assert correlations.abs().max() < 5 / math.sqrt(1500)
    following = (noise[:, :-1] * noise[:, 1:]).mean((1, 2))
    assert following.abs().max() < 5 / math.sqrt(4 * 3000)
    assert len(noise.reshape(-1, 4).unique(dim=0)) == 9000  # no draw twice


def test_the_prior_is_computed_once_for_all_draws(linear_cvae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cvae = linear_cvae()
    latent = LatentBall(cvae, 1.0)
    calls: list[int] = []
    context = type(latent.model).context
    monkeypatch.setattr(type(latent.model), "context", lambda self, x: (calls.append(len(x)), context(self, x))[1])
    Smoothed(two_classes(), latent, 1.0, batch=4).certify(torch.rand(10, 1, 2, 3), selection=20, draws=100, alpha=0.01)

    assert calls == [4, 4, 2]


def test_the_model_is_left_as_it_was_found_also_when_it_fails() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(6), nn.Linear(6, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.rand(3, 1, 2, 3)
    kept, state = images.clone(), torch.get_rng_state()
    Smoothed(model, WIDE, 0.3).certify(images, selection=10, draws=50, alpha=0.01)
    with pytest.raises(ValueError, match="labels"):
        Smoothed(model, WIDE, 0.3).certify(
            images, selection=10, draws=50, alpha=0.01, labels=torch.zeros(4, dtype=torch.int64)
        )
    model[3].register_forward_hook(lambda *_: torch.full((1,), math.nan))
    with pytest.raises(ValueError, match="model must return"):
        Smoothed(model, WIDE, 0.3).certify(images, selection=10, draws=50, alpha=0.01)

    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bounds_are_a_part_of_what_is_smoothed() -> None:
    # At the upper bound no noise is seen upwards: the model that wants more than the bound never votes.
    above = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        above[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
        above[1].bias.copy_(torch.tensor([0.0, -1.001]))
    result = Smoothed(above, PixelBall("l2", 1.0), 5.0).certify(
        torch.ones(1, 1, 1, 1), selection=10, draws=100, alpha=0.01
    )

    assert result.classes.tolist() == [0]
    assert result.agreed.tolist() == [100]


def test_many_draws_certify_at_most_what_all_votes_would() -> None:
    result = Smoothed(Constant([1.0, 0.0, 0.0]), WIDE, 0.5).certify(
        torch.rand(2, 1, 2, 3), selection=5, draws=200, alpha=0.001
    )

    assert_close(result.radii, torch.full((2,), 0.5 * stats.norm.ppf(0.001 ** (1 / 200)), dtype=torch.float64))
    assert result.radii.dtype == torch.float64
    assert result.agreed.dtype == result.taken.dtype == torch.int64


def test_the_curve_counts_right_classes_of_that_radius() -> None:
    images, model = spread_images(30), two_classes(-0.4)
    labels = torch.arange(30) % 2
    result = Smoothed(model, WIDE, 0.3).certify(
        images, selection=20, draws=300, alpha=0.01, labels=labels, generator=draw()
    )
    radii = [0.0, 0.1, 0.3, 5.0]
    curve = result.curve(radii)

    for radius, point in zip(radii, curve, strict=True):
        right = int(((result.classes == labels) & (result.radii >= radius)).sum())
        interval = stats.binomtest(right, 30).proportion_ci()
        assert_close([point["radius"], point["mean"]], [radius, right / 30])
        assert_close([point["low"], point["high"]], [interval.low, interval.high], atol=1e-9, rtol=0)
    assert 0 < curve[0]["mean"] < 1
    assert curve[-1]["mean"] == 0
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["curve"][0] == {**curve[0]}
    assert "must be known" in summary["sentence"]
    with pytest.raises(ValueError, match="labels must be given"):
        replace(result, labels=None).curve([0.0])


def test_a_composed_result_says_its_units(linear_cvae: Any) -> None:
    perturbations, sigma, _ = case("composed", linear_cvae)
    result = Smoothed(two_classes(), perturbations, sigma).certify(
        torch.rand(2, 1, 2, 3), selection=20, draws=100, alpha=0.01
    )

    assert json.loads(json.dumps(result.summary()))["sigma"] == [2.0, 0.1]
    assert "sum of (norm / sigma)^2 at most R(x)^2" in result.sentence


class BrokenRegion(Region):
    def __init__(self, images: Tensor) -> None:
        self.images, self.ball = images, L2Ball(1.0)

    @property
    def size(self) -> int:
        return 2

    def decode(self, offsets: Tensor) -> Tensor:
        return self.images / offsets[:, :1, None, None].sign().clamp_min(0)  # infinite half of the time

    def select(self, rows: Tensor) -> BrokenRegion:
        return BrokenRegion(self.images[rows])


@dataclass(frozen=True)
class Broken(PerturbationSet):
    def at(self, images: Tensor) -> BrokenRegion:
        return BrokenRegion(images)


@pytest.mark.parametrize(
    ("settings", "named", "message"),
    [
        ({"sigma": 0.0}, {}, "sigma must be above 0"),
        ({"sigma": -1.0}, {}, "sigma must be above 0"),
        ({"sigma": math.nan}, {}, "sigma must be above 0"),
        ({"batch": 0}, {}, "batch must be at least 1"),
        ({"perturbations": PixelBall("linf", 0.1)}, {}, "L2 ball"),
        ({"perturbations": SpatialBox()}, {}, "L2 ball"),
        ({"perturbations": ComposedSet([WIDE, PixelBall("linf", 0.1)]), "sigma": (1.0, 1.0)}, {}, "L2 ball"),
        ({"perturbations": Broken()}, {}, "perturbations must decode to finite values"),
        ({"model": Constant([math.nan, 0.0])}, {}, "model must return finite values"),
        ({"model": Constant([math.inf, 0.0])}, {}, "model must return finite values"),
        ({"model": nn.Identity()}, {}, r"model must return logits \[B, K\]"),
        ({"model": nn.Flatten(0)}, {}, "one row of logits for each of"),
        ({}, {"selection": 0}, "selection must be at least 1"),
        ({}, {"draws": 0}, "draws must be at least 1"),
        ({}, {"draws": 9, "alpha": 0.001}, "draws must be at least 10 to certify anything"),
        ({}, {"alpha": 0.0}, "alpha must be above 0 and below 1"),
        ({}, {"alpha": 1.0}, "alpha must be above 0 and below 1"),
        ({}, {"alpha": math.nan}, "alpha must be above 0 and below 1"),
        ({}, {"images": torch.full((2, 1, 2, 3), 1.5), "perturbations": 0}, "images must lie within"),
        ({}, {"images": torch.full((2, 1, 2, 3), math.nan)}, "images must lie within"),
        ({}, {"images": torch.zeros(0, 1, 2, 3)}, "images must hold at least one"),
        ({}, {"labels": torch.zeros(2, 3, dtype=torch.int64)}, "labels must be one whole class number"),
        ({}, {"labels": torch.zeros(3, dtype=torch.int64)}, "labels must be one whole class number"),
        ({}, {"labels": torch.zeros(2)}, "labels must be one whole class number"),
        ({}, {"seeds": torch.zeros(3, dtype=torch.int64)}, "seeds must be whole numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], named: dict[str, Any], message: str) -> None:
    given = {"images": torch.rand(2, 1, 2, 3), "selection": 10, "draws": 50, "alpha": 0.01} | named
    whole = {"model": two_classes(), "perturbations": WIDE, "sigma": 0.3} | settings
    if given.pop("perturbations", None) is not None:
        whole["perturbations"] = PixelBall("l2", 1.0)
    with pytest.raises(ValueError, match=message):
        Smoothed(**whole).certify(**given)


@pytest.mark.parametrize(
    ("draws", "alpha", "message"),
    [
        (0, 0.1, "draws must be"),
        (10, 1.0, "alpha must be"),
        (10, 0.001, "draws must be at least 11"),
    ],
)
def test_predict_refuses_numbers_out_of_range(draws: int, alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Smoothed(two_classes(), WIDE, 0.3).predict(torch.rand(2, 1, 2, 3), draws=draws, alpha=alpha)


def test_the_number_of_draws_that_predict_asks_for_is_enough() -> None:
    votes = Smoothed(Constant([1.0, 0.0]), WIDE, 0.3).predict(torch.rand(2, 1, 2, 3), draws=11, alpha=0.001)
    assert votes.tolist() == [0, 0]
