"""Criteria: is a learned set a good one?"""

from perturbsets.criteria.curve import NecessaryCurve
from perturbsets.criteria.groups import Grouping, by_group, groups_of
from perturbsets.criteria.held_out import check_held_out
from perturbsets.criteria.labels import LabelPreservation
from perturbsets.criteria.likelihood import SufficientLikelihood, SufficientResult
from perturbsets.criteria.necessary import NecessaryResult, NecessarySubset
from perturbsets.criteria.overapproximation import OverApproximation, OverApproximationResult
from perturbsets.criteria.quality import (
    FeatureExtractor,
    InceptionFeatures,
    PrecisionRecall,
    QualityResult,
    RandomFeatures,
    SetQuality,
    frechet_distance,
    precision_recall,
)
from perturbsets.criteria.radius import encodings, radius_by_group, radius_from_pairs
from perturbsets.criteria.theorems import Theorems, TheoremsResult
from perturbsets.criteria.verdict import Finding, verdict

__all__ = [
    "FeatureExtractor",
    "Finding",
    "Grouping",
    "InceptionFeatures",
    "LabelPreservation",
    "NecessaryCurve",
    "NecessaryResult",
    "NecessarySubset",
    "OverApproximation",
    "OverApproximationResult",
    "PrecisionRecall",
    "QualityResult",
    "RandomFeatures",
    "SetQuality",
    "SufficientLikelihood",
    "SufficientResult",
    "Theorems",
    "TheoremsResult",
    "by_group",
    "check_held_out",
    "encodings",
    "frechet_distance",
    "groups_of",
    "precision_recall",
    "radius_by_group",
    "radius_from_pairs",
    "verdict",
]
