"""Training classifiers: plainly, with a set as augmentation, or against an adversary."""

from perturbsets.training.adversarial import (
    AdversarialTraining,
    FastAdversarialTraining,
    FreeAdversarialTraining,
    LargerLossTraining,
)
from perturbsets.training.augmented import AugmentedTraining, NoiseAugmentedTraining, StandardTraining
from perturbsets.training.classifier import train_classifier
from perturbsets.training.cost import Cost, gradients_per_image
from perturbsets.training.feature_adversarial import FeatureAdversarialTraining
from perturbsets.training.gradient_alignment import GradientAlignment
from perturbsets.training.method import DualTargets, Method, OneUpdate
from perturbsets.training.trades import MART, TRADES
from perturbsets.training.validation import RobustValidation
from perturbsets.training.weight_perturbation import AdversarialWeightPerturbation
