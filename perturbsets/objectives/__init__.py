"""Objectives: what an adversary wants. Higher is always worse for the defender."""

from perturbsets.objectives.approximation import ApproximationError
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.cross_entropy import CrossEntropy
from perturbsets.objectives.margin import Margin

__all__ = ["ApproximationError", "CrossEntropy", "Loss", "Margin", "Objective"]
