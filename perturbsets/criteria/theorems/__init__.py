"""Proven bounds of a set, from the recognition distributions of pairs."""

from perturbsets.criteria.theorems.criterion import Theorems, TheoremsResult
