"""Small classifiers for recipes and tests, and what stands before a model."""

from perturbsets.models.averaged import Averaged
from perturbsets.models.normalized import Normalized
from perturbsets.models.small import SmallConvNet

__all__ = ["Averaged", "Normalized", "SmallConvNet"]
