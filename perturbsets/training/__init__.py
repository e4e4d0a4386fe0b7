"""Training classifiers: plainly, with a set as augmentation, or against an adversary."""

from perturbsets.training.classifier import train_classifier
from perturbsets.training.methods import Adversarial, Augmented, LargerOfBoth, Method, Standard

__all__ = ["Adversarial", "Augmented", "LargerOfBoth", "Method", "Standard", "train_classifier"]
