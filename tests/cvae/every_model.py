"""Every architecture, in the forms that matter, for the tests that all of them must pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from cvae import CVAE, ConvCVAE, ResidualCVAE, SpatialCVAE, UNetCVAE

Build = Callable[..., CVAE]

MODELS: dict[str, Build] = {
    "spatial": SpatialCVAE,
    "convolutional": ConvCVAE,
    "residual": ResidualCVAE,
    "residual-linear": partial(ResidualCVAE, injection="linear", hidden=8, blocks=1),
    "unet": partial(UNetCVAE, hidden=8),
}


def awake(model: CVAE) -> CVAE:
    """The model with every weight moved, so that nothing is zero any more."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model
