"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.change import Change
from augment.corruptions import Corruption, RandomCorruption
from augment.digits import Digits
from augment.mixture import Mixture
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
    "Change",
    "ChangeTransform",
    "Corruption",
    "Digits",
    "ImageTransform",
    "Mixture",
    "Pair",
    "PairStore",
    "Perturb",
    "Perturbations",
    "RandomCorruption",
    "Source",
    "SpatialChange",
    "write_pairs",
]
