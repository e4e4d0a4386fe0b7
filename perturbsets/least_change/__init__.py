"""Least changes: the smallest offsets that give labels the states asked for, by linearised constraints."""

from perturbsets.least_change.deepfool import multi_label_deepfool
from perturbsets.least_change.linear_programme import label_linear_programme

__all__ = ["label_linear_programme", "multi_label_deepfool"]
