"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.change import Change
from augment.digits import Digits
from augment.images import ImageError, read_image
from augment.mnist import MNIST
from augment.pairing import ChangedPairs, Fault, Made, Manifest, PairedFolders, PairPlan, PairSource, Scene, Scenes
from augment.pairs import Pair, PairStore
from augment.perturb import Perturb
from augment.perturbations import BoundPerturbations, Perturbations
from augment.source import Source
from augment.spatial import SpatialChange
from augment.writing import WrittenPairs, write_pairs

__all__ = [
    "MNIST",
    "BoundPerturbations",
    "Change",
    "ChangedPairs",
    "Digits",
    "Fault",
    "ImageError",
    "Made",
    "Manifest",
    "Pair",
    "PairPlan",
    "PairSource",
    "PairStore",
    "PairedFolders",
    "Perturb",
    "Perturbations",
    "Scene",
    "Scenes",
    "Source",
    "SpatialChange",
    "WrittenPairs",
    "read_image",
    "write_pairs",
]
