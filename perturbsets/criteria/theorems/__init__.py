"""Theorems: what the recognition distribution proves of a set."""

from perturbsets.criteria.theorems.criterion import Theorems, TheoremsResult
