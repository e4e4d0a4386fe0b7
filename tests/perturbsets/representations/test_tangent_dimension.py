from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from perturbsets.representations import ProbabilisticPCA, choose_dimension


def planes(guides: int, count: int, width: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Neighbours on a plane of their own each, with noise of a tenth in all directions together."""
    latents = torch.randn(guides, count, dimension, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(guides, width, dimension, generator=generator, dtype=torch.float64))[0]
    noise = torch.randn(guides, count, width, generator=generator, dtype=torch.float64)
    return 2 + latents @ axes.mT + 0.1 * noise / width**0.5


@pytest.mark.parametrize(("scatter", "moved"), [("centre", False), ("mean", True), ("centre", True)])
@pytest.mark.parametrize(("count", "width"), [(15, 4), (7, 4), (7, 7), (7, 60)])
def test_curve_is_that_of_every_fit_made_one_by_one(
    scatter: Any, moved: bool, count: int, width: int, generator: torch.Generator
) -> None:
    neighbours = planes(3, count, width, 2, generator)
    centre = neighbours.mean(1) + 0.3 if moved else None
    found = choose_dimension(neighbours, centre, scatter=scatter)

    expected = torch.zeros_like(found.held_out)
    for dimension in range(expected.shape[1]):
        for left in range(count):
            others = neighbours[:, torch.arange(count) != left]
            pca = ProbabilisticPCA.fit(others, dimension, centre, scatter=scatter)
            expected[:, dimension] += pca.log_likelihood(neighbours[:, left : left + 1])[:, 0] / count
    assert expected.shape[1] == min(count - 1 if moved and scatter == "centre" else count - 2, width)
    assert_close(found.held_out, expected, rtol=1e-8, atol=1e-8)
    assert found.dimension == 1 + expected.mean(0)[1:].argmax()


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_the_true_dimension_is_chosen(dimension: int, generator: torch.Generator) -> None:
    found = choose_dimension(planes(60, 15, 1000, dimension, generator))

    assert found.dimension == dimension
    assert found.held_out.shape == (60, 13)  # 0 to 12


def test_neighbours_without_a_plane_are_likeliest_under_none(generator: torch.Generator) -> None:
    found = choose_dimension(torch.randn(40, 15, 500, generator=generator))

    assert found.held_out.mean(0).argmax() == 0
    assert found.dimension == 1


def test_an_image_that_is_there_twice_shortens_the_curve_of_all(generator: torch.Generator) -> None:
    neighbours = planes(4, 15, 200, 3, generator)
    neighbours[2, 5] = neighbours[2, 9]

    # 14 different ones, one of them left out, span 12 directions about their mean: 11 leave some noise.
    found = choose_dimension(neighbours)
    assert found.held_out.shape == (4, 12)
    assert found.held_out.isfinite().all()
    assert found.dimension == 3
    with pytest.raises(
        ValueError, match="plane of dimension 12 also where one is left out, got none that do in row 2:"
    ):
        choose_dimension(neighbours, largest=12)


def test_a_smaller_range_gives_the_start_of_the_curve(generator: torch.Generator) -> None:
    neighbours = planes(40, 15, 200, 5, generator)

    some, whole = choose_dimension(neighbours, largest=2), choose_dimension(neighbours)
    assert_close(some.held_out, whole.held_out[:, :3])
    assert some.dimension == 1 + whole.held_out.mean(0)[1:3].argmax() < whole.dimension


@pytest.mark.parametrize(
    ("neighbours", "largest", "message"),
    [
        (torch.rand(2, 3, 9), None, r"1 guide, 4 each with 2 features or more, got \(2, 3, 9\)"),
        (torch.rand(0, 15, 9), None, "at least 1 guide"),
        (torch.rand(2, 15, 1), None, "2 features or more"),
        (torch.rand(2, 15, 90), 13, "largest must be 1 to 12 for 15 neighbours of 90 features, got 13"),
        (torch.rand(2, 15, 90), 0, "largest must be 1 to 12"),
        (torch.ones(2, 15, 90), None, "plane of dimension 1 also where one is left out, got none that do in rows 0, 1"),
        (torch.rand(2, 15, 9) / 0, None, "neighbours must be finite"),
    ],
)
def test_neighbours_that_allow_no_choice_are_refused(neighbours: Tensor, largest: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_dimension(neighbours, largest=largest)
