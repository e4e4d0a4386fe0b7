"""Criteria of a learned set: does it contain real changes, are they likely, and does it contain little else?"""

from perturbsets.criteria.diagnosis import Finding, diagnose_set
from perturbsets.criteria.features import FeatureExtractor, InceptionFeatures, RandomFeatures, frechet_distance
from perturbsets.criteria.figures import NecessaryCurve
from perturbsets.criteria.groups import Grouping, by_group, groups_of
from perturbsets.criteria.likelihood import SufficientLikelihood, SufficientResult
from perturbsets.criteria.necessary import NecessaryResult, NecessarySubset
from perturbsets.criteria.overapproximation import LabelPreservation, OverApproximation, OverApproximationResult
from perturbsets.criteria.pairs import check_held_out
from perturbsets.criteria.quality import PrecisionRecall, QualityResult, SetQuality, precision_recall
from perturbsets.criteria.radius import encodings, radius_by_group, radius_from_pairs
from perturbsets.criteria.theorems import Theorems, TheoremsResult
