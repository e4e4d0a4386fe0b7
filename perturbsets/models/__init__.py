"""Small classifiers for recipes and tests, and what stands before a model."""

from perturbsets.models.normalized import Normalized
from perturbsets.models.small import SmallConvNet

__all__ = ["Normalized", "SmallConvNet"]
