"""Evaluation: how often a classifier is right under each adversary, and whether that figure can be believed."""

from perturbsets.evaluation.accuracy import AccuracyTable, correct_under, evaluate, predictions
from perturbsets.evaluation.audit import Audit, audit
from perturbsets.evaluation.checks import Check
from perturbsets.evaluation.multi_label import (
    Flips,
    MultiLabelScores,
    TargetOutcomes,
    flips,
    multi_label_scores,
    outcomes,
    success_at_k,
)
from perturbsets.evaluation.robustness import Robustness, evaluate_robustness

__all__ = [
    "AccuracyTable",
    "Audit",
    "Check",
    "Flips",
    "MultiLabelScores",
    "Robustness",
    "TargetOutcomes",
    "audit",
    "correct_under",
    "evaluate",
    "evaluate_robustness",
    "flips",
    "multi_label_scores",
    "outcomes",
    "predictions",
    "success_at_k",
]
