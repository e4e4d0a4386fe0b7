from .adversary import Adversary, Found
from .ascents import Ascent, Best, GradientAscent, OneStep, ProjectedGradient, RandomSearch
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
from .models import SmallConvNet
from .objectives import ApproximationError, CrossEntropy, Loss, Margin, Objective
from .sets import Ball, L2Ball, LatentBall, LinfBall, PerturbationSet, PixelBall, Region, SpatialBox
from .training import (
    Adversarial,
    Augmented,
    LargerOfBoth,
    Method,
    Standard,
    train_classifier,
)

__all__ = [
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
    "GradientAscent",
    "Interval",
    "L2Ball",
    "LargerOfBoth",
    "LatentBall",
    "LinfBall",
    "Loss",
    "Margin",
    "Method",
    "NecessaryResult",
    "NecessarySubset",
    "Objective",
    "OneStep",
    "PerturbationSet",
    "PixelBall",
    "ProjectedGradient",
    "RandomSearch",
    "Region",
    "SmallConvNet",
    "SpatialBox",
    "Standard",
    "SufficientLikelihood",
    "SufficientResult",
    "bootstrap",
    "correct_under",
    "encodings",
    "evaluate",
    "load",
    "radius_from_pairs",
    "train_classifier",
]
