"""Classifiers and a segmentation network for recipes and tests, what stands before a model, and random weights."""

from perturbsets.models.averaged import Averaged
from perturbsets.models.dual import DualConvNet
from perturbsets.models.normalized import Normalized
from perturbsets.models.published import Published
from perturbsets.models.random_weights import randomized
from perturbsets.models.small import SmallConvNet
from perturbsets.models.small_unet import SmallUNet
from perturbsets.models.thresholded import Thresholded

__all__ = [
    "Averaged",
    "DualConvNet",
    "Normalized",
    "Published",
    "SmallConvNet",
    "SmallUNet",
    "Thresholded",
    "randomized",
]
