"""Features of the InceptionV3 network that the published Fréchet inception distances rest on."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import torch
from torch import nn

from perturbsets._types import Images
from perturbsets.criteria.quality.features import Features


class InceptionFeatures:
    """Activations of pytorch-fid's InceptionV3 after its last pooling, of images resized to 299×299 pixels.

    Args:
        weights: File of weights (``.safetensors``, or ``.pth`` that holds plain tensors); if not given, pytorch-fid
            downloads its own once, 95 MB, and keeps them in torch's folder for downloads.
        batch: Images in one pass, at least 1.

    Raises:
        ValueError: If the batch is below 1.
        OSError: When features are first asked for, if the weights are neither there nor to be had.

    References:
        Szegedy et al., *Rethinking the inception architecture for computer vision*, 2016; Seitzer, *pytorch-fid*, 2020,
        for the network and the weights.
    """

    def __init__(self, weights: str | None = None, batch: int = 64) -> None:
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
    from pytorch_fid import inception

    try:
        if weights is None:
            return inception.InceptionV3().eval()
        tensors = _read(Path(weights))
        # pytorch-fid has no argument for weights of one's own: its constructor always calls this loader.
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=tensors):
            return inception.InceptionV3().eval()
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"weights must be a file that holds pytorch-fid's InceptionV3, got {weights} ({error}): download "
            f"{inception.FID_WEIGHTS_URL} where there is a network, and give its path"
        ) from error


def _read(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        import safetensors.torch

        return safetensors.torch.load_file(file)
    loaded: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return loaded
