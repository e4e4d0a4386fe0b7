"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.change import Change
from augment.corruptions import (
    Brightness,
    Contrast,
    Corruption,
    DefocusBlur,
    ElasticTransform,
    Fog,
    Frost,
    GaussianBlur,
    GaussianNoise,
    GlassBlur,
    ImpulseNoise,
    JpegCompression,
    MotionBlur,
    Pixelate,
    RandomCorruption,
    Saturate,
    ShotNoise,
    Snow,
    Spatter,
    SpeckleNoise,
    ZoomBlur,
)
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
    "Brightness",
    "Change",
    "ChangeTransform",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Digits",
    "ElasticTransform",
    "Fog",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "ImageTransform",
    "ImpulseNoise",
    "JpegCompression",
    "Mixture",
    "MotionBlur",
    "Pair",
    "PairStore",
    "Perturb",
    "Perturbations",
    "Pixelate",
    "RandomCorruption",
    "Saturate",
    "ShotNoise",
    "Snow",
    "Source",
    "SpatialChange",
    "Spatter",
    "SpeckleNoise",
    "ZoomBlur",
    "write_pairs",
]
