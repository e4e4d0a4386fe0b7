from .adversary import Adversary, Found
from .ascents import APGD, Ascent, Best, GradientAscent, OneStep, ProjectedAdam, ProjectedGradient, RandomSearch
from .criteria import (
    NecessaryResult,
    NecessarySubset,
    SufficientLikelihood,
    SufficientResult,
    encodings,
    radius_from_pairs,
)
from .evaluation import AccuracyTable, correct_under, evaluate
from .intervals import Interval, bootstrap
from .loading import load
from .models import Normalized, SmallConvNet
from .objectives import (
    DLR,
    ApproximationError,
    CrossEntropy,
    FunctionObjective,
    KLDivergence,
    Loss,
    Margin,
    Objective,
    SegmentationCrossEntropy,
)
from .sets import Ball, L1Ball, L2Ball, LatentBall, LinfBall, PerturbationSet, PixelBall, Region, SpatialBox
from .smallest_radius import SmallestRadius, bisect
from .training import (
    Adversarial,
    Augmented,
    LargerOfBoth,
    Method,
    Standard,
    train_classifier,
)
from .worst import Worst, WorstFound

__all__ = [
    "APGD",
    "DLR",
    "AccuracyTable",
    "Adversarial",
    "Adversary",
    "ApproximationError",
    "Ascent",
    "Augmented",
    "Ball",
    "Best",
    "CrossEntropy",
    "Found",
    "FunctionObjective",
    "GradientAscent",
    "Interval",
    "KLDivergence",
    "L1Ball",
    "L2Ball",
    "LargerOfBoth",
    "LatentBall",
    "LinfBall",
    "Loss",
    "Margin",
    "Method",
    "NecessaryResult",
    "NecessarySubset",
    "Normalized",
    "Objective",
    "OneStep",
    "PerturbationSet",
    "PixelBall",
    "ProjectedAdam",
    "ProjectedGradient",
    "RandomSearch",
    "Region",
    "SegmentationCrossEntropy",
    "SmallConvNet",
    "SmallestRadius",
    "SpatialBox",
    "Standard",
    "SufficientLikelihood",
    "SufficientResult",
    "Worst",
    "WorstFound",
    "bisect",
    "bootstrap",
    "correct_under",
    "encodings",
    "evaluate",
    "load",
    "radius_from_pairs",
    "train_classifier",
]
