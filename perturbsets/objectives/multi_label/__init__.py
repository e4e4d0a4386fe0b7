"""Objectives over the states of many labels of an image: 1 on, 0 off, NaN unknown."""

from perturbsets.objectives.multi_label.binary_cross_entropy import BinaryCrossEntropy

__all__ = ["BinaryCrossEntropy"]
