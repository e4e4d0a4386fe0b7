"""Small classifiers and a segmentation network for recipes and tests, and what stands before a model."""

from perturbsets.models.averaged import Averaged
from perturbsets.models.normalized import Normalized
from perturbsets.models.small import SmallConvNet
from perturbsets.models.small_unet import SmallUNet

__all__ = ["Averaged", "Normalized", "SmallConvNet", "SmallUNet"]
