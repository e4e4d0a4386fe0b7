"""Inner representations: the attacks on them, and what they show."""

from perturbsets.representations.attacks import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt

__all__ = ["feature_fgrad", "feature_linear", "feature_opt", "label_fgrad", "label_opt"]
