"""Conditional variational autoencoders that learn perturbation sets from pairs of images."""

from cvae.batches import Draws, derive_seed
from cvae.checkpoint import Pretrained
from cvae.fit import FitSettings, fit
from cvae.likelihood import BernoulliLikelihood, GaussianLikelihood
from cvae.model import CVAE, DiagonalGaussian, Networks, Terms
from cvae.networks.convolutional import ConvCVAE
from cvae.networks.pyramid import UNetCVAE
from cvae.networks.residual import ResidualCVAE
from cvae.networks.spatial import SpatialCVAE
from cvae.training import LoopSettings, train

__all__ = [name for name, value in globals().items() if getattr(value, "__module__", "").startswith("cvae.")]
