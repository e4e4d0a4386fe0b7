"""Probabilistic PCA against exact densities, a second implementation and the definition of a maximum."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.decomposition import PCA
from torch import Tensor
from torch.testing import assert_close

from perturbsets.representations import ProbabilisticPCA, likelihood_drop


def cloud(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal points of unequal spread, away from the origin."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.3, 2, shape[-1], dtype=torch.float64)
    return (spread * torch.randn(shape, generator=draw, dtype=torch.float64) + 3).to(dtype)


def covariance(neighbours: Tensor, dimension: int, about: Tensor) -> Tensor:
    """W Wᵀ + σ² I, written out by the D × D scatter."""
    scatter = (neighbours - about).T @ (neighbours - about) / len(neighbours)
    values, vectors = torch.linalg.eigh(scatter)
    values, vectors = values.flip(0), vectors.flip(1)
    noise = values[dimension:].mean()
    weights = vectors[:, :dimension] * (values[:dimension] - noise).sqrt()
    return weights @ weights.T + noise * torch.eye(len(values), dtype=torch.float64)


@pytest.mark.parametrize(("scatter", "moved"), [("centre", False), ("mean", True), ("centre", True)])
@pytest.mark.parametrize(
    ("count", "width", "dimension"), [(15, 6, 0), (15, 6, 3), (15, 6, 5), (6, 20, 3), (15, 40, 13)]
)
def test_likelihood_is_the_density_of_the_normal_distribution(
    scatter: Any, moved: bool, count: int, width: int, dimension: int
) -> None:
    neighbours, points, centre = cloud(3, count, width), cloud(3, 4, width, seed=1), cloud(3, width, seed=2)
    pca = ProbabilisticPCA.fit(neighbours, dimension, centre if moved else None, scatter=scatter)
    found = pca.log_likelihood(points)

    for row in range(3):
        mean = neighbours[row].mean(0)
        middle = centre[row] if moved else mean
        expected = stats.multivariate_normal(
            middle.numpy(), covariance(neighbours[row], dimension, middle if scatter == "centre" else mean).numpy()
        ).logpdf(points[row].numpy())
        assert_close(found[row], torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("count", "width", "dimension"), [(60, 5, 2), (30, 12, 11), (15, 400, 6)])
def test_likelihood_agrees_with_scikit_learn(count: int, width: int, dimension: int) -> None:
    neighbours, points = cloud(2, count, width), cloud(2, 7, width, seed=1)
    pca = ProbabilisticPCA.fit(neighbours, dimension)

    for row in range(2):
        # It divides scatters by n - 1: neighbours drawn in by the root of (n - 1) / n undo that.
        mean = neighbours[row].mean(0)
        theirs = PCA(dimension, svd_solver="full").fit(mean + math.sqrt((count - 1) / count) * (neighbours[row] - mean))
        if width > count:  # it averages the noise over n - q directions, not over D - q
            theirs.noise_variance_ *= (count - dimension) / (width - dimension)
        assert_close(
            pca.log_likelihood(points)[row], torch.from_numpy(theirs.score_samples(points[row])), rtol=1e-9, atol=0
        )


@pytest.mark.parametrize("scatter", ["mean", "centre"])
def test_the_likelihood_of_the_neighbours_has_its_closed_form_at_the_maximum(scatter: Any) -> None:
    neighbours = cloud(4, 15, 4096)
    centre = neighbours.mean(1) if scatter == "mean" else cloud(4, 4096, seed=1)
    pca = ProbabilisticPCA.fit(neighbours, 10, centre, scatter=scatter)

    # At the maximum the scatter and the covariance have the same trace under the inverse of the latter, D.
    expected = -0.5 * (4096 * math.log(2 * math.pi) + pca.variances.log().sum(1) + 4086 * pca.noise.log() + 4096)
    assert_close(pca.log_likelihood(neighbours).mean(1), expected, rtol=1e-10, atol=0)


@given(seed=st.integers(0, 10_000), centred=st.booleans())
def test_no_other_plane_variance_or_noise_is_likelier(seed: int, centred: bool) -> None:
    neighbours = cloud(1, 8, 5, seed=seed)
    centre = cloud(1, 5, seed=seed + 1) if centred else neighbours.mean(1)
    best = ProbabilisticPCA.fit(neighbours, 2, centre, scatter="centre")
    draw = torch.Generator().manual_seed(seed)

    def changed(value: Tensor) -> Tensor:
        return value * (0.3 * torch.randn(value.shape, generator=draw, dtype=torch.float64)).exp()

    axes = best.axes + 0.3 * torch.randn(best.axes.shape, generator=draw, dtype=torch.float64)
    other = ProbabilisticPCA(centre, torch.linalg.qr(axes)[0], changed(best.variances), changed(best.noise))
    assert other.log_likelihood(neighbours).sum() < best.log_likelihood(neighbours).sum()


def test_fit_recovers_the_plane_and_the_noise_of_normal_data(generator: torch.Generator) -> None:
    count, width, deviations, noise = 20_000, 12, torch.tensor([3.0, 2.0, 1.0]).double(), 0.2
    axes = torch.linalg.qr(torch.randn(width, 3, generator=generator, dtype=torch.float64))[0]
    latents = deviations * torch.randn(1, count, 3, generator=generator, dtype=torch.float64)
    points = latents @ axes.T + noise * torch.randn(1, count, width, generator=generator, dtype=torch.float64)
    pca = ProbabilisticPCA.fit(points, 3)

    # Standard errors: of a variance its root 2 / n, of a direction the noise over the signal by root n.
    assert_close(pca.variances[0], deviations.square() + noise**2, rtol=4 * math.sqrt(2 / count), atol=0)
    assert_close(pca.noise[0].item(), noise**2, rtol=4 * math.sqrt(2 / (count * (width - 3))), atol=0)
    cosines = torch.linalg.svdvals(pca.axes[0].T @ axes)
    assert (1 - cosines.square()).clamp_min(0).sqrt().max() < 4 * noise * math.sqrt(width / count)


@pytest.mark.parametrize(("scatter", "axis"), [("mean", 0), ("centre", 1)])
def test_scatter_about_the_guide_takes_a_strong_curvature_for_the_plane(scatter: Any, axis: int) -> None:
    # A bowl over the tangent at the guide, the origin: 1 to either side, and 2 above, give or take a tenth.
    neighbours = torch.tensor([[[1.0, 2.1], [1, 1.9], [-1, 2.1], [-1, 1.9]]]).double()
    pca = ProbabilisticPCA.fit(neighbours, 1, torch.zeros(1, 2).double(), scatter=scatter)

    assert_close(pca.axes[0, :, 0].abs(), torch.eye(2).double()[axis])
    expected = {"mean": (1.0, 0.01), "centre": (4.01, 1.0)}[scatter]
    assert_close((pca.variances.item(), pca.noise.item()), expected)


@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 3))
def test_drop_is_at_most_zero_and_grows_as_the_square_of_the_offset(seed: int, factor: float) -> None:
    neighbours, guide, offsets = cloud(2, 7, 9, seed=seed), cloud(2, 9, seed=seed + 1), cloud(2, 3, 9, seed=seed + 2)
    pca = ProbabilisticPCA.fit(neighbours, 2, guide)
    drop = likelihood_drop(pca, guide[:, None] + offsets, guide)

    assert (drop < 0).all()
    assert_close(likelihood_drop(pca, guide[:, None] + factor * offsets, guide), factor**2 * drop)
    assert_close(drop, pca.log_likelihood(guide[:, None] + offsets) - pca.log_likelihood(guide[:, None]))
    assert (likelihood_drop(pca, guide[:, None], guide) == 0).all()


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_drop_is_invariant_to_scale_and_rotation(seed: int, scale: float) -> None:
    neighbours, guide, points = cloud(1, 7, 6, seed=seed), cloud(1, 6, seed=seed + 1), cloud(1, 3, 6, seed=seed + 2)
    turn = scale * torch.linalg.qr(cloud(6, 6, seed=seed + 3))[0]
    drops = [
        likelihood_drop(ProbabilisticPCA.fit(neighbours @ by, 3, guide @ by), points @ by, guide @ by)
        for by in (torch.eye(6).double(), turn)
    ]

    assert_close(*drops, rtol=1e-6, atol=1e-9)


def test_a_guide_alone_gives_what_it_gives_in_a_batch_and_inputs_stay() -> None:
    neighbours, guide, points = cloud(5, 15, 300), cloud(5, 300, seed=1), cloud(5, 2, 300, seed=2)
    kept = neighbours.clone(), guide.clone(), points.clone()
    together = likelihood_drop(ProbabilisticPCA.fit(neighbours, 4, guide), points, guide)
    alone = likelihood_drop(ProbabilisticPCA.fit(neighbours[3:4], 4, guide[3:4]), points[3:4], guide[3:4])

    assert_close(alone, together[3:4], rtol=1e-10, atol=0)
    assert all(torch.equal(before, now) for before, now in zip(kept, (neighbours, guide, points), strict=True))
    assert ProbabilisticPCA.fit(neighbours[:0], 4).log_likelihood(points[:0]).shape == (0, 2)


def test_float32_features_lose_no_more_than_their_rounding() -> None:
    neighbours, guide, points = (cloud(3, *shape, dtype=torch.float32) for shape in ((15, 4096), (4096,), (2, 4096)))
    narrow = likelihood_drop(ProbabilisticPCA.fit(neighbours, 8, guide), points, guide)
    wide = likelihood_drop(
        ProbabilisticPCA.fit(neighbours.double(), 8, guide.double()), points.double(), guide.double()
    )

    assert narrow.dtype == torch.float64
    assert_close(narrow, wide, rtol=0, atol=0)  # all is computed in float64: only the limit for the noise differs


def test_a_plane_that_is_hardly_thick_keeps_its_digits(generator: torch.Generator) -> None:
    # A ratio of variances of 1e16: a Gram matrix of neighbours would have lost the thinner direction altogether.
    latents = torch.randn(15, 3, generator=generator, dtype=torch.float64)
    latents = torch.linalg.qr(latents - latents.mean(0))[0] * math.sqrt(15)
    axes = torch.linalg.qr(torch.randn(50, 3, generator=generator, dtype=torch.float64))[0]
    neighbours = (latents * torch.tensor([1.0, 1e-4, 1e-8]).double()) @ axes.T
    pca = ProbabilisticPCA.fit(neighbours[None], 2)

    assert_close(pca.variances[0], torch.tensor([1.0, 1e-8]).double(), rtol=1e-6, atol=0)
    assert_close(pca.noise.item(), 1e-16 / 48, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("count", "width", "dimension", "scatter", "limit"),
    [(15, 40, 14, "mean", 14), (15, 40, 15, "centre", 15), (15, 4, 4, "mean", 4), (15, 4, -1, "centre", 4)],
)
def test_dimensions_that_leave_no_noise_are_refused(
    count: int, width: int, dimension: int, scatter: Any, limit: int
) -> None:
    with pytest.raises(
        ValueError, match=f"0 or more and below {limit}, got {dimension}: {count} neighbours of {width}"
    ):
        ProbabilisticPCA.fit(cloud(2, count, width), dimension, cloud(2, width), scatter=scatter)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dead", [False, True])
def test_neighbours_in_a_plane_are_refused_by_row(dtype: torch.dtype, dead: bool) -> None:
    neighbours = cloud(3, 15, 50, dtype=dtype)
    plane = cloud(15, 4, seed=1) @ cloud(4, 50, seed=2)
    neighbours[1] = 0 if dead else plane.to(dtype)

    with pytest.raises(ValueError, match=r"plane of dimension 4, got none that do in row 1: .* lower the dimension"):
        ProbabilisticPCA.fit(neighbours, 4)
    if not dead:
        assert ProbabilisticPCA.fit(neighbours, 3).noise.min() > 0


def test_an_unknown_scatter_is_refused() -> None:
    fit = inspect.unwrap(ProbabilisticPCA.fit.__func__)  # type: ignore[attr-defined]  # its hints refuse it first
    with pytest.raises(ValueError, match=r"scatter must be one of \['centre', 'mean'\], got 'median'"):
        fit(ProbabilisticPCA, cloud(2, 15, 9), 2, scatter="median")


def test_features_that_are_not_finite_are_refused() -> None:
    neighbours, guide = cloud(2, 15, 9), cloud(2, 9)
    pca = ProbabilisticPCA.fit(neighbours, 3, guide)
    broken = torch.where(torch.arange(9) == 4, torch.nan, guide)

    with pytest.raises(ValueError, match="neighbours must be finite"):
        ProbabilisticPCA.fit(neighbours * np.inf, 3)
    with pytest.raises(ValueError, match="guide must be finite"):
        likelihood_drop(pca, guide[:, None], broken)
    with pytest.raises(ValueError, match="points must be finite"):
        pca.log_likelihood(broken[:, None])
