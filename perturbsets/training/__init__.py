"""Training classifiers: plainly, with a set as augmentation, or against an adversary."""

from perturbsets.training.adversarial import Adversarial
from perturbsets.training.adversarial_weights import AdversarialWeights
from perturbsets.training.augmented import Augmented
from perturbsets.training.classifier import train_classifier
from perturbsets.training.cost import Cost, gradients_per_image
from perturbsets.training.fast import FastAdversarial
from perturbsets.training.feature_adversarial import FeatureAdversarial
from perturbsets.training.free import FreeAdversarial
from perturbsets.training.gradient_alignment import GradientAlignment
from perturbsets.training.larger_of_both import LargerOfBoth
from perturbsets.training.mart import MART
from perturbsets.training.method import Method, OneUpdate
from perturbsets.training.multi_label import (
    DualS1,
    DualS2,
    HelpedByLabels,
    MultiLabel,
    balancing_weights,
    choose_thresholds,
)
from perturbsets.training.noise_augmented import NoiseAugmented
from perturbsets.training.standard import Standard
from perturbsets.training.targets import DualTargets
from perturbsets.training.trades import TRADES
from perturbsets.training.validation import RobustValidation

__all__ = [
    "MART",
    "TRADES",
    "Adversarial",
    "AdversarialWeights",
    "Augmented",
    "Cost",
    "DualS1",
    "DualS2",
    "DualTargets",
    "FastAdversarial",
    "FeatureAdversarial",
    "FreeAdversarial",
    "GradientAlignment",
    "HelpedByLabels",
    "LargerOfBoth",
    "Method",
    "MultiLabel",
    "NoiseAugmented",
    "OneUpdate",
    "RobustValidation",
    "Standard",
    "balancing_weights",
    "choose_thresholds",
    "gradients_per_image",
    "train_classifier",
]
