"""The Fréchet distance between two sets of features, as if both were normally distributed."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from augment.double_precision import in_double


def frechet_distance(first: Float[Tensor, "M F"], second: Float[Tensor, "N G"]) -> float:
    r"""Squared Wasserstein-2 distance between the normal distributions that have the features' moments.

    .. math:: \|\mu_1 - \mu_2\|^2 + \operatorname{tr}\Sigma_1 + \operatorname{tr}\Sigma_2
        - 2 \operatorname{tr}\big(\Sigma_1^{1/2} \Sigma_2 \Sigma_1^{1/2}\big)^{1/2}

    Both square roots are of symmetric matrices, by eigendecomposition in float64: a general matrix root loses half of
    its digits where a covariance is singular, which it is for fewer images than features. With features of InceptionV3
    this is the Fréchet inception distance. It falls with the number of images: compare only equal numbers.

    Args:
        first: Features of one set of images, a row each.
        second: Features of the other.

    Returns:
        The distance, 0 or more, in the square of the features' unit.

    Raises:
        ValueError: If a set has fewer than two rows, the features differ in number, or one is not finite.

    References:
        Dowson and Landau, *The Fréchet distance between multivariate normal distributions*, 1982, equation 4; Heusel et
        al., *GANs trained by a two time-scale update rule converge to a local Nash equilibrium*, 2017.

    Example:
        >>> points = torch.tensor([[0.0], [2.0]])
        >>> round(frechet_distance(points, points + 3), 6)  # the same spread, 3 further on
        9.0
    """
    check_features(first, second)
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"first and second must hold at least 2 rows, got {len(first)} and {len(second)}")
    mean, covariance = _moments(first)
    other_mean, other_covariance = _moments(second)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * product
    return max(float(distance), 0.0)


def check_features(first: Tensor, second: Tensor) -> None:
    """Refuses features that cannot be compared.

    Raises:
        ValueError: If they differ in number, or one is not finite.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features must be equally many, got {first.shape[1]} and {second.shape[1]}")
    if not bool(first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features must be finite, got NaN or infinity: look at the extractor and its input range")


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = in_double(features)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)
