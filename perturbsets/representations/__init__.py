"""Representations: what a network's inner layers make of images, and whether an adversary's look natural."""

from perturbsets.representations.attacks import feature_fgrad, feature_linear, feature_opt, label_fgrad, label_opt
from perturbsets.representations.bank import Bank, Block, MemoryBank
from perturbsets.representations.detection import ROC, detection_roc
from perturbsets.representations.distances import (
    distance_ratio,
    member_distances,
    nearest_in_class,
    nearest_in_predicted_class,
    neighbours_in_class,
    rank_in_class,
    relative_distance,
    spread_in_class,
)
from perturbsets.representations.feature_bank import FeatureBank, LabelledImages, write_bank
from perturbsets.representations.guides import GuidedPairs, draw_guided_pairs
from perturbsets.representations.inversion import Inversion, InversionResult, alpha_norm, total_variation
from perturbsets.representations.layer_metrics import Description, LayerMetrics, neighbour_overlap, overlap_share
from perturbsets.representations.neighbours import Neighbourhood, Neighbours, nearest_neighbours, neighbourhoods
from perturbsets.representations.outcomes import LabelOutcomes, Transfer, label_outcomes, transfer
from perturbsets.representations.tangent import DimensionChoice, ProbabilisticPCA, choose_dimension, likelihood_drop
from perturbsets.representations.units import active_overlap, angular_consistency, sparsity_change
