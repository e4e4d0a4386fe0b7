"""Representations: what a network's inner layers make of images, and whether an adversary's look natural."""

from perturbsets.representations.angular import angular_consistency
from perturbsets.representations.detection import ROC, detection_roc
from perturbsets.representations.outcomes import LabelOutcomes, Transfer, label_outcomes, transfer
from perturbsets.representations.sparsity import active_overlap, sparsity_change
from perturbsets.representations.tangent import ProbabilisticPCA, likelihood_drop
from perturbsets.representations.tangent_dimension import DimensionChoice, choose_dimension

__all__ = [
    "ROC",
    "DimensionChoice",
    "LabelOutcomes",
    "ProbabilisticPCA",
    "Transfer",
    "active_overlap",
    "angular_consistency",
    "choose_dimension",
    "detection_roc",
    "label_outcomes",
    "likelihood_drop",
    "sparsity_change",
    "transfer",
]
