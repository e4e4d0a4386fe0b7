"""Classifiers and a segmentation network for recipes and tests, wrappers of models, and random weights."""

from perturbsets.models.published import Published
from perturbsets.models.random_weights import randomized
from perturbsets.models.small import DualConvNet, SmallConvNet, SmallUNet
from perturbsets.models.wrappers import Averaged, Normalized, Thresholded
