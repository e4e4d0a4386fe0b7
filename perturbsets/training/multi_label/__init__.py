"""Training a classifier of many labels."""

from perturbsets.training.multi_label.balancing import balancing_weights
from perturbsets.training.multi_label.method import MultiLabel
from perturbsets.training.multi_label.thresholds import choose_thresholds

__all__ = ["MultiLabel", "balancing_weights", "choose_thresholds"]
