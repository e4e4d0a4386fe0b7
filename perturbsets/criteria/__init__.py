"""Criteria: is a learned set a good one?"""

from perturbsets.criteria.features import FeatureExtractor, RandomFeatures
from perturbsets.criteria.frechet import frechet_distance
from perturbsets.criteria.held_out import check_held_out
from perturbsets.criteria.inception import InceptionFeatures
from perturbsets.criteria.necessary import NecessaryResult, NecessarySubset
from perturbsets.criteria.precision_recall import PrecisionRecall, precision_recall
from perturbsets.criteria.quality import QualityResult, SetQuality
from perturbsets.criteria.radius import encodings, radius_from_pairs
from perturbsets.criteria.sufficient import SufficientLikelihood, SufficientResult

__all__ = [
    "FeatureExtractor",
    "InceptionFeatures",
    "NecessaryResult",
    "NecessarySubset",
    "PrecisionRecall",
    "QualityResult",
    "RandomFeatures",
    "SetQuality",
    "SufficientLikelihood",
    "SufficientResult",
    "check_held_out",
    "encodings",
    "frechet_distance",
    "precision_recall",
    "radius_from_pairs",
]
