"""Inner representations: the attacks on them, what they show, and images made of them."""

from perturbsets.representations.attacks import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt
from perturbsets.representations.inversion import Inversion, Inverted, alpha_norm, total_variation

__all__ = [
    "Inversion",
    "Inverted",
    "alpha_norm",
    "feature_fgrad",
    "feature_linear",
    "feature_opt",
    "label_fgrad",
    "label_opt",
    "total_variation",
]
