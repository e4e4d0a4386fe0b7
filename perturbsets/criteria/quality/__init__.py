"""How samples of a set look beside real changes, in a space of features."""

from perturbsets.criteria.quality.features import FeatureExtractor, RandomFeatures
from perturbsets.criteria.quality.frechet import frechet_distance
from perturbsets.criteria.quality.inception import InceptionFeatures
from perturbsets.criteria.quality.precision_recall import PrecisionRecall, precision_recall
from perturbsets.criteria.quality.set_quality import QualityResult, SetQuality

__all__ = [
    "FeatureExtractor",
    "InceptionFeatures",
    "PrecisionRecall",
    "QualityResult",
    "RandomFeatures",
    "SetQuality",
    "frechet_distance",
    "precision_recall",
]
