from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy
from torch.testing import assert_close

from perturbsets import LatentBall, NecessarySubset
from perturbsets.criteria.necessary import cross_entropy_excess
from perturbsets.criteria.pairs import batches, mismatched

COUNT = 24


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    clean = torch.rand(COUNT, 1, 2, 3)
    return memory_pairs(clean, (clean + 0.2 * torch.randn(COUNT, 1, 2, 3)).clamp(0, 1), torch.arange(COUNT) // 3)


def nearest(model: Any, clean: torch.Tensor, changed: torch.Tensor, radius: float) -> torch.Tensor:
    """Mean squared error of the nearest member: the columns of the basis are orthogonal and equally long."""
    prior = model.prior(model.context(clean))
    basis = model._generator.basis * prior.scale[0]
    rest = (changed - clean).flatten(1) - prior.mean @ model._generator.basis.T
    u = rest @ basis / basis.square().sum(0)
    u = u * (radius / u.norm(dim=1, keepdim=True)).clamp(max=1)
    return (rest - u @ basis.T).square().mean(1).detach()


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 1e6])
def test_search_finds_the_nearest_member(linear_cvae: Any, pairs: Any, radius: float) -> None:
    model = linear_cvae()
    # Steps are a share of the radius, so the largest ball needs more of them for the same distance.
    result = NecessarySubset(steps=60, restarts=2)(LatentBall(model, min(radius, 20.0)), pairs)
    exact = nearest(model, pairs.clean, pairs.changed, radius)

    assert_close(result.search, exact, rtol=1e-2, atol=1e-4)
    assert (result.search >= exact - 1e-6).all()
    assert (result.search <= result.encoding + 1e-6).all()
    assert_close(result.identity, (pairs.clean - pairs.changed).square().flatten(1).mean(1))
    assert result.source.tolist() == pairs.source.tolist()


def test_errors_at_the_encoding_are_by_the_recognition_mean(linear_cvae: Any, pairs: Any) -> None:
    model = linear_cvae()
    result = NecessarySubset(steps=1, restarts=1)(LatentBall(model, 0.4), pairs)
    u = model.encode(pairs.clean, pairs.changed).detach()
    inside = u * (0.4 / u.norm(dim=1, keepdim=True)).clamp(max=1)

    for errors, offsets in ((result.reconstruction, u), (result.encoding, inside)):
        assert_close(errors, (model.decode(pairs.clean, offsets) - pairs.changed).square().flatten(1).mean(1).detach())


def test_offset_zero_is_compared_with_the_clean_image(linear_cvae: Any, pairs: Any) -> None:
    model = linear_cvae()
    result = NecessarySubset(steps=1, restarts=1)(LatentBall(model, 0.4), pairs)
    shift = (model.prior(model.context(pairs.clean)).mean @ model._generator.basis.T).detach()  # g(x, 0) - x
    figures = result.summary()

    assert_close(result.centre, shift.square().mean(1), rtol=1e-4, atol=1e-9)
    assert_close(result.centre_largest, shift.abs().amax(1), rtol=1e-4, atol=1e-6)
    assert result.centre.min() > 0
    assert figures["centre"]["mean"] == pytest.approx(float(shift.square().mean()), rel=1e-4)
    assert figures["centre_largest"]["max"] == pytest.approx(float(shift.abs().max()), rel=1e-4)


def test_excess_is_the_cross_entropy_of_the_nearest_member_over_the_least(linear_cvae: Any, pairs: Any) -> None:
    model = linear_cvae()
    result = NecessarySubset(steps=60, restarts=1)(LatentBall(model, 0.0), pairs)
    member = model.decode(pairs.clean, torch.zeros(COUNT, model.latent)).detach().clamp(1e-6, 1 - 1e-6)
    entropies = [binary_cross_entropy(images, pairs.changed, reduction="none") for images in (member, pairs.changed)]

    assert_close(result.excess, (entropies[0] - entropies[1]).flatten(1).mean(1), rtol=1e-4, atol=1e-5)
    assert result.summary()["excess"]["mean"] == pytest.approx(float(result.excess.mean()), rel=1e-5)


def test_equal_images_have_no_excess_and_a_missed_pixel_a_finite_one() -> None:
    grey, black, white = torch.full((1, 1, 2, 2), 0.3), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)

    for images in (grey, black, white):
        assert_close(cross_entropy_excess(images, images), torch.zeros(1), atol=2e-6, rtol=0)
    assert_close(cross_entropy_excess(black, white), torch.tensor([-math.log(1e-6)]))


def test_mismatched_search_is_the_nearest_member_of_another_source(linear_cvae: Any, pairs: Any) -> None:
    model = linear_cvae()
    result = NecessarySubset(steps=60, restarts=1)(LatentBall(model, 0.5), pairs)
    (batch,) = mismatched(pairs)

    assert_close(result.mismatched_search, nearest(model, batch.clean, batch.changed, 0.5), rtol=1e-2, atol=1e-4)
    assert_close(result.mismatched_identity, (batch.clean - batch.changed).square().flatten(1).mean(1))


@pytest.mark.parametrize(
    "source",
    [[0, 1], [0, 0, 1, 1], [0, 1] * 6, [0] * 9 + [1], [1] + [0] * 9, [0, 0, 0, 1, 2, 0, 0], list(range(7))],
)
@pytest.mark.parametrize("size", [3, 256])
def test_mismatched_pairs_never_share_a_source(memory_pairs: Any, source: list[int], size: int) -> None:
    numbers = torch.tensor(source)
    images = (numbers / 10)[:, None, None, None].expand(-1, 1, 2, 2)  # a clean image tells its source
    own = 0
    for clean, changed, given, _ in mismatched(memory_pairs(images, images, numbers), size=size):
        assert ((clean - changed).flatten(1).abs().amax(1) > 0).all()
        assert given.tolist() == source[own : own + len(given)]
        own += len(given)
    assert own == len(source)


def test_pairs_come_in_order_in_floating_point(memory_pairs: Any) -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 2, 2)
    parts = list(batches(memory_pairs(images, images + 5, torch.arange(10)), size=4))

    assert [len(part.clean) for part in parts] == [4, 4, 2]
    assert_close(torch.cat([part.clean for part in parts])[:, 0, 0, 0], torch.arange(10) / 255)
    assert_close(torch.cat([part.changed for part in parts])[:, 0, 0, 0], (torch.arange(10) + 5) / 255)


def test_summary_gives_means_shares_and_quantiles(linear_cvae: Any, pairs: Any) -> None:
    result = NecessarySubset(steps=5, restarts=1)(LatentBall(linear_cvae(), 0.5), pairs)
    figures = result.summary()

    assert figures["pairs"] == COUNT
    assert figures["sources"] == COUNT // 3
    assert figures["identity"]["share"] == figures["mismatched_identity"]["share"] == 1
    search = figures["search"]
    assert math.isclose(search["mean"], result.search.double().mean(), rel_tol=1e-6)
    assert math.isclose(search["share"], result.search.double().sum() / result.identity.double().sum(), rel_tol=1e-6)
    assert search["low"] <= search["mean"] <= search["high"]
    assert search["median"] <= search["q95"] <= search["max"] == result.search.max()


def test_pairs_that_do_not_do_are_refused(linear_cvae: Any, pairs: Any, memory_pairs: Any) -> None:
    perturbations = LatentBall(linear_cvae(), 0.5)
    one = memory_pairs(pairs.clean, pairs.changed, torch.zeros(COUNT, dtype=torch.long))
    none = memory_pairs(pairs.clean[:0], pairs.changed[:0], pairs.source[:0])

    with pytest.raises(ValueError, match="at least two sources"):
        NecessarySubset(1, restarts=1)(perturbations, one)
    with pytest.raises(ValueError, match="at least one pair"):
        NecessarySubset(1, restarts=1)(perturbations, none)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        NecessarySubset(0)
    with pytest.raises(ValueError, match="restarts must be at least 1"):
        NecessarySubset(restarts=0)
