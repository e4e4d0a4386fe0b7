"""Objectives: what an adversary wants. Higher is always worse for the defender."""

from perturbsets.objectives.approximation import ApproximationError
from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.cross_entropy import CrossEntropy
from perturbsets.objectives.divergence import KLDivergence
from perturbsets.objectives.dlr import DLR
from perturbsets.objectives.feature_distance import FeatureDistance
from perturbsets.objectives.function import FunctionObjective
from perturbsets.objectives.linear_feature_distance import LinearFeatureDistance
from perturbsets.objectives.margin import Margin
from perturbsets.objectives.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, MultiLabelObjective, TopK
from perturbsets.objectives.priced import Priced
from perturbsets.objectives.segmentation import SegmentationCrossEntropy
from perturbsets.objectives.strongest_wrong import StrongestWrong

__all__ = [
    "DLR",
    "ApproximationError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "FeatureDistance",
    "FunctionObjective",
    "KLDivergence",
    "LabelMargin",
    "LabelRanking",
    "LinearFeatureDistance",
    "Loss",
    "Margin",
    "MultiLabelObjective",
    "Objective",
    "Priced",
    "SegmentationCrossEntropy",
    "StrongestWrong",
    "TopK",
]
