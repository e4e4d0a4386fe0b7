"""Representations: what do inner layers of a network make of images, and of adversaries?"""

from perturbsets.representations.bank import Bank, Block, MemoryBank
from perturbsets.representations.distances import (
    distance_ratio,
    guide_ratio,
    nearest_in_class,
    source_ratio,
    spread_in_class,
)
from perturbsets.representations.feature_bank import FeatureBank
from perturbsets.representations.in_class import member_distances, neighbours_in_class
from perturbsets.representations.neighbourhoods import Neighbourhood, neighbourhoods
from perturbsets.representations.neighbours import Neighbours, nearest_neighbours
from perturbsets.representations.overlap import neighbour_overlap, overlap_share
from perturbsets.representations.predicted import nearest_in_predicted_class
from perturbsets.representations.ranks import rank_in_class
from perturbsets.representations.write_bank import LabelledImages, write_bank

__all__ = [
    "Bank",
    "Block",
    "FeatureBank",
    "LabelledImages",
    "MemoryBank",
    "Neighbourhood",
    "Neighbours",
    "distance_ratio",
    "guide_ratio",
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
    "spread_in_class",
    "write_bank",
]
