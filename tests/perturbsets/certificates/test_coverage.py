from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from augment import ChangedPairs, Digits, PairStore, SpatialChange, write_pairs
from perturbsets import Coverage, LatentBall, PixelBall, SpatialBox
from perturbsets.certificates import coverage
from perturbsets.sets import PairsUsed
from perturbsets.share_bounds import share_at_least

COUNT = 60


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    """Two pairs of each of thirty images."""
    clean = torch.rand(COUNT // 2, 1, 2, 3).repeat_interleave(2, 0)
    changed = (clean + 0.2 * torch.randn(COUNT, 1, 2, 3)).clamp(0, 1)
    return memory_pairs(clean, changed, torch.arange(COUNT) // 2)


def steps(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors 0.001, 0.002, ..., each of its own source."""
    return torch.arange(1, count + 1, dtype=torch.float64) / 1000, torch.arange(count)


def test_the_tolerance_is_said_in_words_and_rounded_up() -> None:
    found = coverage(*steps(), share=0.9, alpha=0.05)

    assert found.tolerance == 0.279  # the 279th of 300: P(Bin(300, 0.9) >= 279) = 0.041, of 278 it is 0.063
    assert str(found) == (
        "With confidence 95 %, at least 90 % of pairs drawn like these have a member of the set within a mean squared "
        "error of 0.279 per pixel (root: 135 of 255 grey levels): 279 of 300 held-out sources have one, "
        "one random pair each."
    )


def test_the_share_is_said_in_words_and_rounded_down() -> None:
    found = coverage(*steps(), tolerance=0.25, alpha=0.01)

    assert found.within == 250
    assert found.share == float(share_at_least(250, 300, 0.01))
    share = math.floor(found.share * 1000) / 10
    assert f"With confidence 99 %, at least {share:g} % of pairs drawn like these" in str(found)
    assert "within a mean squared error of 0.25 per pixel (root: 128 of 255 grey levels)" in str(found)


def test_the_chance_is_a_p_value_and_rounded_up() -> None:
    found = coverage(*steps(), tolerance=0.25, share=0.8)

    assert found.alpha == pytest.approx(stats.binom.sf(249, 300, 0.8), rel=1e-9)
    assert str(found) == (
        "If fewer than 80 % of pairs drawn like these had a member of the set within a mean squared error of 0.25 per "
        "pixel (root: 128 of 255 grey levels), 250 or more of 300 held-out sources, one random pair each, would have "
        f"one with a chance of at most {math.ceil(found.alpha * 1e4) / 1e4:g} (p-value)."
    )


def test_nothing_certified_is_said_plainly() -> None:
    errors, sources = steps()
    none = coverage(errors, sources, tolerance=0.0, alpha=0.05)
    errors[200:] = math.nan
    unlimited = coverage(errors, sources, share=0.9, alpha=0.05)

    assert none.share == 0
    assert str(none).startswith("No share is certified: none of 300 held-out sources")
    assert math.isinf(unlimited.tolerance)
    assert str(unlimited) == (
        "No tolerance is certified: only 200 of 300 held-out sources, one random pair each, have a finite error, and "
        "279 would have to for 90 % of pairs drawn like these with confidence 95 %."
    )


def test_errors_may_count_as_shares_of_the_change() -> None:
    errors, sources = steps(100)
    changes = 2 * errors.flip(0)
    found = coverage(errors, sources, changes=changes, share=0.5, alpha=0.05)
    ratios = errors / changes

    assert found.tolerance == float(ratios.sort().values[58])  # P(Bin(100, 0.5) >= 59) = 0.044
    assert f"within {math.ceil(found.tolerance * 1e3) / 10:g} % of their own squared change" in str(found)
    assert found.summary()["grey_levels"] is None
    still = coverage(torch.tensor([0.0, 0.1]), torch.arange(2), changes=torch.zeros(2), tolerance=9.0, alpha=0.5)
    assert still.errors.tolist() == [0.0, math.inf]  # no change at all: near only if met exactly


@pytest.mark.parametrize("asked", [{"share": 0.9}, {"tolerance": 0.1}, {"tolerance": 0.1, "share": 0.9}])
@pytest.mark.parametrize("lost", [0, 299])
@pytest.mark.parametrize("relative", [False, True])
def test_summaries_are_plain_json(asked: dict[str, float], lost: int, relative: bool) -> None:
    errors, sources = steps()
    errors[len(errors) - lost :] = math.nan
    alpha = {} if len(asked) == 2 else {"alpha": 0.05}
    found = coverage(errors, sources, changes=errors.nan_to_num() if relative else None, **asked, **alpha)
    said = json.loads(json.dumps(found.summary(), allow_nan=False))

    assert said["sentence"] == str(found)
    assert said["sources"] == 300
    assert said["within"] == found.within
    assert said["solved"] == ({"share", "alpha", "tolerance"} - {*asked, *alpha}).pop()


def test_one_pair_of_each_source_counts(generator: torch.Generator) -> None:
    errors, sources = torch.rand(500), torch.randint(40, (500,))
    found = coverage(errors, sources, tolerance=0.5, alpha=0.05, generator=generator)
    again = coverage(errors, sources, tolerance=0.5, alpha=0.05, generator=torch.Generator().manual_seed(0))

    assert found.source.tolist() == sources.unique().tolist()
    assert found.summary()["sources"] == len(sources.unique())
    assert all(
        error in errors[sources == source].double() for error, source in zip(found.errors, found.source, strict=True)
    )
    assert torch.equal(found.errors, again.errors)


def test_pairs_that_do_not_do_are_refused() -> None:
    with pytest.raises(ValueError, match="errors and sources must have one row per pair, got 3 and 4"):
        coverage(torch.rand(3), torch.arange(4), tolerance=0.1, alpha=0.05)
    with pytest.raises(ValueError, match="changes and sources must have one row per pair, got 2 and 3"):
        coverage(torch.rand(3), torch.arange(3), changes=torch.rand(2), tolerance=0.1, alpha=0.05)
    with pytest.raises(ValueError, match=r"errors must be 0 or more, got -0\.1"):
        coverage(torch.tensor([-0.1, 1.0]), torch.arange(2), tolerance=0.1, alpha=0.05)
    with pytest.raises(ValueError, match="1 or more held-out sources are needed, got none"):
        coverage(torch.rand(0), torch.arange(0), tolerance=0.1, alpha=0.05)
    with pytest.raises(ValueError, match=r"29 held-out sources are needed .* got 20"):
        coverage(torch.rand(200), torch.arange(200) // 10, share=0.9, alpha=0.05)


@pytest.mark.parametrize("relative", [False, True])
def test_errors_are_those_of_the_nearest_members(
    linear_cvae: Any, pairs: Any, generator: torch.Generator, relative: bool
) -> None:
    model = linear_cvae()
    found = Coverage(share=0.5, alpha=0.1, relative=relative)(LatentBall(model, 0.7), pairs, generator=generator)

    prior = model.prior(model.context(pairs.clean))
    basis = model._generator.basis * prior.scale[0]  # its columns are orthogonal and equally long
    rest = (pairs.changed - pairs.clean).flatten(1) - prior.mean @ model._generator.basis.T
    u = rest @ basis / basis.square().sum(0)
    u = u * (0.7 / u.norm(dim=1, keepdim=True)).clamp(max=1)
    exact = (rest - u @ basis.T).square().mean(1).detach().double()
    if relative:
        exact /= (pairs.changed - pairs.clean).double().square().flatten(1).mean(1)
    assert found.source.tolist() == list(range(COUNT // 2))
    both = exact.view(-1, 2)  # of each source either pair
    off = (found.errors[:, None] - both).abs().min(1)
    assert_close(found.errors, both.gather(1, off.indices[:, None])[:, 0], rtol=1e-2, atol=1e-5)
    assert found.tolerance in found.errors
    assert found.relative == relative


def test_classic_sets_are_certified_too(pairs: Any, generator: torch.Generator) -> None:
    box = Coverage(tolerance=1e-4, alpha=0.05)(PixelBall("linf", 1.0), pairs, generator=generator)
    nothing = Coverage(tolerance=0.0, alpha=0.05)(SpatialBox(SpatialChange(), radius=0.0), pairs, generator=generator)

    assert box.within == COUNT // 2  # every image is in the box
    assert_close(box.share, 0.05 ** (2 / COUNT))
    assert nothing.share == 0


def test_the_certificate_refuses_what_was_learned_from(linear_cvae: Any, tmp_path: Any) -> None:
    sources = {split: Digits(split, size=8, digit=8) for split in ("train", "test")}  # type: ignore[arg-type]
    file = write_pairs(tmp_path / "pairs.h5", ChangedPairs(sources, SpatialChange(), draws=1, seed=0)).path
    used = (PairsUsed.of("fit", PairStore(file, "train")),)
    learned = LatentBall(linear_cvae(height=8, width=8), 1.0, learned_from=used)

    with pytest.raises(ValueError, match="take the split 'test'"):
        Coverage(share=0.9, alpha=0.05)(learned, PairStore(file, "train"))
    assert Coverage(share=0.9, alpha=0.05, steps=1, restarts=1)(learned, PairStore(file, "test")).covering.count == 300


def test_impossible_settings_and_broken_models_are_refused(linear_cvae: Any, pairs: Any) -> None:
    with pytest.raises(ValueError, match="two of tolerance, share and alpha"):
        Coverage(share=0.9)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        Coverage(share=0.9, alpha=0.05, steps=0)
    some = type(pairs)(pairs.clean[:40], pairs.changed[:40], pairs.source[:40])
    with pytest.raises(ValueError, match="29 held-out sources are needed"):
        Coverage(share=0.9, alpha=0.05, steps=1, restarts=1)(LatentBall(linear_cvae(), 1.0), some)
    model = linear_cvae()
    with torch.no_grad():
        model._generator.basis.fill_(math.nan)
    with pytest.raises(ValueError, match="finite"):
        Coverage(share=0.5, alpha=0.05)(LatentBall(model, 1.0), pairs)
