"""Angular consistency where geometry gives it: the inscribed angle, and points at random."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from perturbsets.representations import angular_consistency


def on_circle(angles: Tensor, axes: Tensor) -> Tensor:
    return 5 + 3 * torch.stack([angles.cos(), angles.sin()], -1) @ axes


@given(chord=st.floats(0.05, 3.1), seed=st.integers(0, 1000))
def test_points_of_a_circle_see_a_chord_under_half_its_angle_at_the_centre(chord: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(20, 2, generator=draw, dtype=torch.float64))[0].T
    guide = on_circle(torch.zeros(1, dtype=torch.float64), axes)
    point = on_circle(torch.tensor([[chord]], dtype=torch.float64), axes)
    share = 0.01 + 0.98 * torch.rand(1, 15, generator=draw, dtype=torch.float64)

    far = on_circle(chord + share * (2 * math.pi - chord), axes)  # on the longer arc
    near = on_circle(share * chord, axes)  # between the two
    assert_close(angular_consistency(point, guide, far).item(), math.cos(chord / 2), rtol=0, atol=1e-9)
    assert_close(angular_consistency(point, guide, near).item(), -math.cos(chord / 2), rtol=0, atol=1e-9)


def test_points_of_a_sphere_see_a_diameter_under_a_right_angle(generator: torch.Generator) -> None:
    sphere = torch.nn.functional.normalize(torch.randn(4, 16, 30, generator=generator, dtype=torch.float64), dim=2)

    found = angular_consistency(-sphere[:, :1], sphere[:, 0], sphere[:, 1:])
    assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)


def test_independent_points_of_many_dimensions_score_a_half(generator: torch.Generator) -> None:
    points = torch.randn(8, 17, 100_000, generator=generator)

    # All distances are equal there: equilateral triangles. Cosines scatter by about 1 / root D.
    found = angular_consistency(points[:, :1], points[:, 1], points[:, 2:])
    assert_close(found, torch.full_like(found, 0.5), rtol=0, atol=0.01)


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10))
def test_it_is_the_definition_written_out_in_any_unit(seed: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    points, guides, neighbours = (
        torch.randn(3, count, 6, generator=draw, dtype=torch.float64) + 10 for count in (4, 1, 5)
    )
    expected = cosine_similarity(neighbours[:, None] - points[:, :, None], (neighbours - guides)[:, None], dim=3).mean(
        2
    )

    found = angular_consistency(scale * points, scale * guides[:, 0], scale * neighbours)
    assert_close(found, expected, rtol=0, atol=1e-11)
    assert (found <= 1).all()
    itself = angular_consistency(guides, guides[:, 0], neighbours)
    assert_close(itself, torch.ones_like(itself), rtol=0, atol=1e-12)


def test_points_on_the_way_to_a_neighbour_score_one_and_never_more(generator: torch.Generator) -> None:
    guide, neighbour = torch.randn(2, 64, 1, 9, generator=generator, dtype=torch.float64)
    found = angular_consistency(
        guide + torch.linspace(0.1, 0.9, 9)[:, None] * (neighbour - guide), guide[:, 0], neighbour
    )

    assert_close(found, torch.ones_like(found), rtol=0, atol=1e-12)
    assert (found <= 1).all()


def test_an_offset_across_scores_by_its_length_alone() -> None:
    neighbours = torch.cat([torch.eye(3), -torch.eye(3)])[None].double() @ torch.eye(3, 5).double()
    points = torch.tensor([[[0, 0, 0, 2.0, 0], [0, 0, 0, 0, 2], [0, 0, 0, 1.2, 1.6]]]).double()

    found = angular_consistency(points, torch.zeros(1, 5).double(), neighbours)
    assert_close(found, torch.full((1, 3), 1 / math.sqrt(5)).double())


def test_a_neighbour_that_is_the_point_or_the_guide_does_not_count() -> None:
    guide, point = torch.tensor([[0.3, 0.1]]), torch.tensor([[[3.3, 3.1]]])
    seen = torch.tensor([[[3.3, 0.1], [0.3, 3.1], [6.3, 3.1]]])
    known = torch.cat([seen, guide[:, None], point], 1)

    assert_close(angular_consistency(point, guide, known), angular_consistency(point, guide, seen), rtol=0, atol=0)


@pytest.mark.parametrize(("dtype", "step", "error"), [(torch.float32, 1e-4, 1e-10), (torch.float64, 1e-7, 1e-7)])
def test_nearly_equal_points_keep_their_digits(
    dtype: torch.dtype, step: float, error: float, generator: torch.Generator
) -> None:
    guide = 100 + torch.rand(1, 50, generator=generator, dtype=dtype)
    neighbours = guide[:, None] + torch.rand(1, 5, 50, generator=generator, dtype=dtype)
    points = neighbours[:, :1] + step * torch.rand(1, 1, 50, generator=generator, dtype=dtype)
    differences = neighbours.double()[:, None] - points.double()[:, :, None]
    expected = cosine_similarity(differences, (neighbours.double() - guide.double()[:, None])[:, None], dim=3).mean(2)

    # An inner product is known to 1e-16 of the squared distance to the guide: the tolerance grows as points draw near.
    assert_close(angular_consistency(points, guide, neighbours), expected, rtol=0, atol=error)


def test_neighbours_that_see_nothing_are_refused_by_row() -> None:
    guides, neighbours = torch.zeros(3, 2), torch.ones(3, 4, 2)
    neighbours[1] = 0

    with pytest.raises(ValueError, match="neighbours must differ from guides and points, got none that does in row 1:"):
        angular_consistency(torch.full((3, 1, 2), 5.0), guides, neighbours)
    with pytest.raises(ValueError, match="in rows 0, 1, 2"):
        angular_consistency(torch.full((3, 1, 2), 5.0), guides, neighbours[:, :0])
    with pytest.raises(ValueError, match="points must be finite"):
        angular_consistency(torch.full((3, 1, 2), torch.nan), guides, neighbours)
