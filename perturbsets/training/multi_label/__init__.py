"""Training a classifier of many labels, and a classifier of classes with its help."""

from perturbsets.training.multi_label.balancing import balancing_weights
from perturbsets.training.multi_label.dual_s1 import DualS1
from perturbsets.training.multi_label.dual_s2 import DualS2
from perturbsets.training.multi_label.helped import HelpedByLabels
from perturbsets.training.multi_label.method import MultiLabel
from perturbsets.training.multi_label.thresholds import choose_thresholds

__all__ = ["DualS1", "DualS2", "HelpedByLabels", "MultiLabel", "balancing_weights", "choose_thresholds"]
