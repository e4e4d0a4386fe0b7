"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.change import Change
from augment.corruptions import (
    Brightness,
    Contrast,
    Corruption,
    ElasticTransform,
    Fog,
    Frost,
    RandomCorruption,
    Saturate,
    Snow,
    Spatter,
)
from augment.digits import Digits
from augment.mnist import MNIST
from augment.pairs import Pair, PairStore
from augment.perturb import Perturb
from augment.perturbations import BoundPerturbations, Perturbations
from augment.source import Source
from augment.spatial import SpatialChange
from augment.transform import ChangeTransform, ImageTransform
from augment.writing import write_pairs

__all__ = [
    "MNIST",
    "BoundPerturbations",
    "Brightness",
    "Change",
    "ChangeTransform",
    "Contrast",
    "Corruption",
    "Digits",
    "ElasticTransform",
    "Fog",
    "Frost",
    "ImageTransform",
    "Pair",
    "PairStore",
    "Perturb",
    "Perturbations",
    "RandomCorruption",
    "Saturate",
    "Snow",
    "Source",
    "SpatialChange",
    "Spatter",
    "write_pairs",
]
