"""Objectives: what an adversary wants. Higher is always worse for the defender."""

from perturbsets.objectives.base import Loss, Objective
from perturbsets.objectives.classification import DLR, CrossEntropy, KLDivergence, Margin, StrongestWrong
from perturbsets.objectives.feature_distance import FeatureDistance, LinearFeatureDistance
from perturbsets.objectives.general import ApproximationError, FunctionObjective, Penalized
from perturbsets.objectives.segmentation import SegmentationCrossEntropy
