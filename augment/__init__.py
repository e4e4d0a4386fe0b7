"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.albumentations_change import AlbumentationsChange
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
from augment.images import ImageError, read_image
from augment.mixture import Mixture
from augment.pairing import ChangedPairs, Fault, Made, Manifest, PairedFolders, PairPlan, PairSource, Scene, Scenes
from augment.perturb import Perturb
from augment.perturbations import BoundPerturbations, Perturbations
from augment.sources.cifar10 import CIFAR10
from augment.sources.digits import Digits
from augment.sources.fashion_mnist import FashionMNIST
from augment.sources.image_folder import ImageFolder
from augment.sources.label_manifest import LabelManifest
from augment.sources.mnist import MNIST
from augment.sources.multi_label import MultiLabelSource
from augment.sources.patches import Patches
from augment.sources.portion import Portion
from augment.sources.scene_materials import SceneMaterials
from augment.sources.segment_digits import SegmentDigits
from augment.sources.source import Source, group_numbers
from augment.spatial import SpatialChange
from augment.store.contact_sheet import contact_sheet
from augment.store.reading import Pair, PairStore
from augment.store.writing import WrittenPairs, write_pairs
from augment.torchvision_change import TorchvisionChange
from augment.transform import ChangeTransform, ImageTransform

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
    "LabelManifest",
    "Made",
    "Manifest",
    "Mixture",
    "MotionBlur",
    "MultiLabelSource",
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
    "SegmentDigits",
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
    "group_numbers",
    "read_image",
    "write_pairs",
]
