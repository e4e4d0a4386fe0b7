"""Representations: what a network's inner layers make of images, and whether an adversary's look natural."""

from perturbsets.representations.angular import angular_consistency
from perturbsets.representations.attacks import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt
from perturbsets.representations.bank import Bank, Block, MemoryBank
from perturbsets.representations.description import Description
from perturbsets.representations.detection import ROC, detection_roc
from perturbsets.representations.distances import (
    distance_ratio,
    guide_ratio,
    nearest_in_class,
    source_ratio,
    spread_in_class,
)
from perturbsets.representations.feature_bank import FeatureBank
from perturbsets.representations.guides import GuidedPairs, draw_guided_pairs
from perturbsets.representations.in_class import member_distances, neighbours_in_class
from perturbsets.representations.inversion import Inversion, Inverted, alpha_norm, total_variation
from perturbsets.representations.neighbourhoods import Neighbourhood, neighbourhoods
from perturbsets.representations.neighbours import Neighbours, nearest_neighbours
from perturbsets.representations.outcomes import LabelOutcomes, Transfer, label_outcomes, transfer
from perturbsets.representations.overlap import neighbour_overlap, overlap_share
from perturbsets.representations.predicted import nearest_in_predicted_class
from perturbsets.representations.ranks import rank_in_class
from perturbsets.representations.sparsity import active_overlap, sparsity_change
from perturbsets.representations.surroundings import Surroundings
from perturbsets.representations.tangent import ProbabilisticPCA, likelihood_drop
from perturbsets.representations.tangent_dimension import DimensionChoice, choose_dimension
from perturbsets.representations.write_bank import LabelledImages, write_bank

__all__ = [
    "ROC",
    "Bank",
    "Block",
    "Description",
    "DimensionChoice",
    "FeatureBank",
    "GuidedPairs",
    "Inversion",
    "Inverted",
    "LabelOutcomes",
    "LabelledImages",
    "MemoryBank",
    "Neighbourhood",
    "Neighbours",
    "ProbabilisticPCA",
    "Surroundings",
    "Transfer",
    "active_overlap",
    "alpha_norm",
    "angular_consistency",
    "choose_dimension",
    "detection_roc",
    "distance_ratio",
    "draw_guided_pairs",
    "feature_fgrad",
    "feature_linear",
    "feature_opt",
    "guide_ratio",
    "label_fgrad",
    "label_opt",
    "label_outcomes",
    "likelihood_drop",
    "member_distances",
    "nearest_in_class",
    "nearest_in_predicted_class",
    "nearest_neighbours",
    "neighbour_overlap",
    "neighbourhoods",
    "neighbours_in_class",
    "overlap_share",
    "rank_in_class",
    "source_ratio",
    "sparsity_change",
    "spread_in_class",
    "total_variation",
    "transfer",
    "write_bank",
]
