from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy import stats

from perturbsets import joint_statement


def test_a_source_is_a_hit_if_near_inside_and_right() -> None:
    norms = torch.tensor([0.5, 1.0, 1.1, 0.5, 0.5, 0.0])
    errors = torch.tensor([0.1, 0.1, 0.1, 0.2, 0.1, 0.0])
    radii = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    correct = torch.tensor([True, True, True, True, False, True])
    joint = joint_statement(norms, errors, radii, correct, error=0.1, alpha=0.05, failure=0.01)

    # The last abstained, and is right by nothing but its flag: radius 0 holds the offset 0 alone.
    assert joint.hits == 3
    assert joint.hit_share == pytest.approx(stats.beta.ppf(0.05, 3, 4))
    assert joint.share == pytest.approx(joint.hit_share - 0.01)
    assert json.loads(json.dumps(joint.summary(), allow_nan=False))["hits"] == 3
    assert "not about the changed image" in joint.sentence
    assert "3 of 6 held-out sources, less 1 %" in joint.sentence


def test_the_statement_is_wrong_at_most_as_often_as_alpha(generator: torch.Generator) -> None:
    """Sources of three kinds: good hits, hits whose certificate is wrong, and others, some of which are good."""
    sources, alpha, failure, repeats = 120, 0.1, 0.05, 2000
    wrong = 0
    for _ in range(repeats):
        kind = torch.rand(sources, generator=generator)
        false = kind < failure  # as many wrong certificates as allowed, all of them on hits that are not good
        good_hit = (kind >= failure) & (kind < 0.7)
        hit = false | good_hit
        joint = joint_statement(
            torch.where(hit, 0.5, 2.0),
            torch.full((sources,), 0.01),
            torch.ones(sources, dtype=torch.float64),
            torch.ones(sources, dtype=torch.bool),
            error=0.02,
            alpha=alpha,
            failure=failure,
        )
        assert joint.hits == int(hit.sum())
        wrong += joint.share > 0.7 - failure  # the true share of good ones, none of the others being good

    exact = sum(
        stats.binom.pmf(k, sources, 0.7) for k in range(sources + 1) if stats.beta.ppf(alpha, k, sources - k + 1) > 0.7
    )
    assert 0.05 < exact <= alpha  # it is nearly as often wrong as it may be: the bound gives nothing away
    assert abs(wrong / repeats - exact) < 4 * math.sqrt(exact / repeats)


def test_nothing_is_claimed_below_zero() -> None:
    joint = joint_statement(
        torch.ones(5), torch.ones(5), torch.zeros(5), torch.zeros(5).bool(), error=0.1, alpha=0.05, failure=0.01
    )
    assert joint.share == 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 1.0}, "alpha must be above 0"),
        ({"failure": 0.0}, "failure must be above 0"),
        ({"failure": math.nan}, "failure must be above 0"),
        ({"error": math.nan}, "error must be 0 or more"),
        ({"error": -0.1}, "error must be 0 or more"),
        ({"norms": torch.tensor([math.nan, 0.0, 0.0])}, "norms must be numbers, got NaN"),
        ({"radii": torch.tensor([math.nan, 0.0, 0.0])}, "radii must be numbers, got NaN"),
        (dict.fromkeys(("norms", "errors", "radii"), torch.zeros(0)) | {"correct": torch.zeros(0).bool()}, "one entry"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    given = {
        "norms": torch.zeros(3),
        "errors": torch.zeros(3),
        "radii": torch.ones(3),
        "correct": torch.ones(3).bool(),
        "error": 0.1,
        "alpha": 0.05,
        "failure": 0.01,
    } | changed
    with pytest.raises(ValueError, match=message):
        joint_statement(**given)
