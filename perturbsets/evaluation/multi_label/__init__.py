"""Multi-label evaluation: how well a model tells which labels are on, and what an adversary turns."""

from perturbsets.evaluation.multi_label.first_labels import success_at_k
from perturbsets.evaluation.multi_label.flips import Flips, flips
from perturbsets.evaluation.multi_label.outcomes import TargetOutcomes, outcomes
from perturbsets.evaluation.multi_label.scores import MultiLabelScores, multi_label_scores

__all__ = [
    "Flips",
    "MultiLabelScores",
    "TargetOutcomes",
    "flips",
    "multi_label_scores",
    "outcomes",
    "success_at_k",
]
