"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.albumentations_change import AlbumentationsChange
from augment.change import Change
from augment.cifar10 import CIFAR10
from augment.contact_sheet import contact_sheet
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
from augment.fashion_mnist import FashionMNIST
from augment.image_folder import ImageFolder
from augment.images import ImageError, read_image
from augment.mixture import Mixture
from augment.mnist import MNIST
from augment.pairing import ChangedPairs, Fault, Made, Manifest, PairedFolders, PairPlan, PairSource, Scene, Scenes
from augment.pairs import Pair, PairStore
from augment.patches import Patches
from augment.perturb import Perturb
from augment.perturbations import BoundPerturbations, Perturbations
from augment.portion import Portion
from augment.scene_materials import SceneMaterials
from augment.source import Source
from augment.spatial import SpatialChange
from augment.torchvision_change import TorchvisionChange
from augment.transform import ChangeTransform, ImageTransform
from augment.writing import WrittenPairs, write_pairs

__all__ = [
    "CIFAR10",
    "MNIST",
    "AlbumentationsChange",
    "BoundPerturbations",
    "Brightness",
    "Change",
    "ChangeTransform",
    "ChangedPairs",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Digits",
    "ElasticTransform",
    "FashionMNIST",
    "Fault",
    "Fog",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "ImageError",
    "ImageFolder",
    "ImageTransform",
    "ImpulseNoise",
    "JpegCompression",
    "Made",
    "Manifest",
    "Mixture",
    "MotionBlur",
    "Pair",
    "PairPlan",
    "PairSource",
    "PairStore",
    "PairedFolders",
    "Patches",
    "Perturb",
    "Perturbations",
    "Pixelate",
    "Portion",
    "RandomCorruption",
    "Saturate",
    "Scene",
    "SceneMaterials",
    "Scenes",
    "ShotNoise",
    "Snow",
    "Source",
    "SpatialChange",
    "Spatter",
    "SpeckleNoise",
    "TorchvisionChange",
    "WrittenPairs",
    "ZoomBlur",
    "contact_sheet",
    "read_image",
    "write_pairs",
]
