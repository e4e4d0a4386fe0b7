"""Objectives over the states of many labels of an image: 1 on, 0 off, NaN unknown."""

from perturbsets.objectives.multi_label.base import MultiLabelObjective
from perturbsets.objectives.multi_label.binary_cross_entropy import BinaryCrossEntropy
from perturbsets.objectives.multi_label.label_margin import LabelMargin
from perturbsets.objectives.multi_label.label_ranking import LabelRanking
from perturbsets.objectives.multi_label.top_k import TopK

__all__ = [
    "BinaryCrossEntropy",
    "LabelMargin",
    "LabelRanking",
    "MultiLabelObjective",
    "TopK",
]
