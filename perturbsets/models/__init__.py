"""Small classifiers for recipes and tests."""

from perturbsets.models.small import SmallConvNet

__all__ = ["SmallConvNet"]
