"""Features of images, and the Fréchet distance between sets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable
from unittest import mock

import torch
from jaxtyping import Float
from torch import Tensor, nn

from augment.double_precision import in_double
from augment.extras import extra
from cvae.files import read_tensors
from perturbsets._types import Images

Features = Float[Tensor, "B F"]


@runtime_checkable
class FeatureExtractor(Protocol):
    """Any function from images to features, such as an inner layer of a classifier."""

    def __call__(self, images: Images, /) -> Features:
        """Features of images in [0, 1], on their device."""
        ...


class RandomFeatures:
    r"""Means and standard deviations of three random convolutions, each at half the former's resolution.

    .. math:: h_{l+1} = \operatorname{ReLU}(W_l * h_l), \quad \phi = \big(\operatorname{mean} h_l,
        \operatorname{std} h_l\big)_l

    They need no download. The weights are drawn from a seed and never trained, so that results can be compared between
    runs, for any number of channels. Distances in this space depend on colour, contrast, sharpness and texture, not on
    content, and are not the published Fréchet inception distance.

    Args:
        width: Channels of the first convolution; the others have twice as many. At least 1.
        seed: Seed of the weights.

    Raises:
        ValueError: If the width is below 1.

    References:
        Naeem et al., *Reliable fidelity and diversity metrics for generative models*, 2020, sec. 5 (random embeddings).
    """

    def __init__(self, width: int = 16, *, seed: int = 0) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width, self.seed = width, seed
        self._layers: dict[int, list[Tensor]] = {}

    @torch.no_grad()
    def __call__(self, images: Images) -> Features:
        statistics = []
        maps = images - 0.5
        for weight in self._weights(images.shape[1]):
            padded = nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
            maps = nn.functional.conv2d(padded, weight.to(images)).relu()
            statistics += [maps.mean((2, 3)), maps.std((2, 3))]
            maps = nn.functional.avg_pool2d(maps, 2)
        return torch.cat(statistics, 1)

    def _weights(self, channels: int) -> list[Tensor]:
        if channels not in self._layers:
            generator = torch.Generator().manual_seed(self.seed)
            sizes = [(channels, self.width), (self.width, 2 * self.width), (2 * self.width, 2 * self.width)]
            self._layers[channels] = [
                torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
                for inputs, outputs in sizes
            ]
        return self._layers[channels]


class InceptionFeatures:
    """Activations of pytorch-fid's InceptionV3 after its last pooling, for images resized to 299×299 pixels.

    The published Fréchet inception distances use them.

    Args:
        weights: File of weights (``.safetensors``, or ``.pth`` that holds plain tensors); if not given, pytorch-fid
            downloads its own once, 95 MB, into torch's folder for downloads.
        batch: Images in one forward pass, at least 1.

    Raises:
        ValueError: If the batch is below 1.
        OSError: At the first call, if the weights can be neither read nor downloaded.

    References:
        Szegedy et al., *Rethinking the inception architecture for computer vision*, 2016; Seitzer, *pytorch-fid*, 2020,
        for the network and the weights.
    """

    def __init__(self, weights: str | None = None, *, batch: int = 64) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.weights, self.batch = weights, batch
        self._network: nn.Module | None = None

    @torch.no_grad()
    def __call__(self, images: Images) -> Features:
        if self._network is None:
            self._network = _network(self.weights)
        network = self._network.to(images.device)
        colour = images.float().expand(-1, 3, -1, -1)
        return torch.cat([network(part)[0].flatten(1) for part in colour.split(self.batch)])


def _network(weights: str | None) -> nn.Module:
    with extra("fid", "InceptionFeatures"):
        from pytorch_fid import inception

    try:
        if weights is None:
            return inception.InceptionV3().eval()
        tensors = _read(Path(weights))
        # pytorch-fid has no argument for a weights file: its constructor always calls this loader.
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=tensors):
            return inception.InceptionV3().eval()
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"weights must be a file that holds pytorch-fid's InceptionV3, got {weights} ({error}): download "
            f"{inception.FID_WEIGHTS_URL} where there is a network, and give its path"
        ) from error


def _read(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        return read_tensors(file)
    loaded: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded


def frechet_distance(first: Float[Tensor, "M F"], second: Float[Tensor, "N G"]) -> float:
    r"""Squared Wasserstein-2 distance between the normal distributions that have the features' moments.

    .. math:: \|\mu_1 - \mu_2\|^2 + \operatorname{tr}\Sigma_1 + \operatorname{tr}\Sigma_2
        - 2 \operatorname{tr}\big(\Sigma_1^{1/2} \Sigma_2 \Sigma_1^{1/2}\big)^{1/2}

    Both roots are of symmetric matrices, by eigendecomposition in float64: a general matrix root loses half of its
    digits for singular covariances, as with fewer images than features. With features of InceptionV3 this is the
    Fréchet inception distance. It falls with the number of images: compare only equal numbers.

    Each row holds the features of one image. The unit is the square of theirs.

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
    """Refuses features that differ in number or are not finite."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features must be equally many, got {first.shape[1]} and {second.shape[1]}")
    if not bool(first.isfinite().all() and second.isfinite().all()):
        raise ValueError("features must be finite, got NaN or infinity: look at the extractor and its input range")


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = in_double(features)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)
