"""Evaluation: how often a classifier is right under each adversary, and whether that figure can be believed."""

from perturbsets.evaluation.accuracy import AccuracyTable, correct_under, evaluate, predictions
from perturbsets.evaluation.audit import Audit, audit
from perturbsets.evaluation.checks import Check
from perturbsets.evaluation.robustness import Robustness, evaluate_robustness
