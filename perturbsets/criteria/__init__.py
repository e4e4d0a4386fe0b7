"""Criteria: is a learned set a good one?"""

from perturbsets.criteria.necessary import NecessaryResult, NecessarySubset
from perturbsets.criteria.radius import encodings, radius_from_pairs
from perturbsets.criteria.sufficient import SufficientLikelihood, SufficientResult

__all__ = [
    "NecessaryResult",
    "NecessarySubset",
    "SufficientLikelihood",
    "SufficientResult",
    "encodings",
    "radius_from_pairs",
]
