"""Training classifiers: plainly, with a set as augmentation, or against an adversary."""

from perturbsets.training.addons import AdversarialWeightPerturbation, GradientAlignment
from perturbsets.training.adversarial import (
    MART,
    TRADES,
    AdversarialTraining,
    FastAdversarialTraining,
    FreeAdversarialTraining,
    LargerLossTraining,
)
from perturbsets.training.augmented import AugmentedTraining, NoiseAugmentedTraining, StandardTraining
from perturbsets.training.classifier import train_classifier
from perturbsets.training.cost import Cost, gradients_per_image
from perturbsets.training.feature_adversarial import FeatureAdversarialTraining
from perturbsets.training.method import DualTargets, Method, OneUpdate
from perturbsets.training.validation import RobustValidation
