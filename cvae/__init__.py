"""Conditional variational autoencoders that learn perturbation sets from pairs of images."""

from cvae.batches import Draws
from cvae.convolutional import ConvCVAE
from cvae.fit import FitSettings, fit
from cvae.gaussian import DiagonalGaussian
from cvae.likelihood import BernoulliLikelihood, GaussianLikelihood
from cvae.loop import LoopSettings, train
from cvae.model import CVAE, Networks, Terms
from cvae.pretrained import Pretrained
from cvae.residual import ResidualCVAE
from cvae.seeds import derive_seed
from cvae.spatial import SpatialCVAE
from cvae.unet import UNetCVAE

__all__ = [
    "CVAE",
    "BernoulliLikelihood",
    "ConvCVAE",
    "DiagonalGaussian",
    "Draws",
    "FitSettings",
    "GaussianLikelihood",
    "LoopSettings",
    "Networks",
    "Pretrained",
    "ResidualCVAE",
    "SpatialCVAE",
    "Terms",
    "UNetCVAE",
    "derive_seed",
    "fit",
    "train",
]
