"""Evaluation: how often a classifier is right under each adversary."""

from perturbsets.evaluation.accuracy import AccuracyTable, correct_under, evaluate

__all__ = ["AccuracyTable", "correct_under", "evaluate"]
