"""Images and pairs of images: sources, changes, stores and transforms."""

from augment.change import AlbumentationsChange, Change, TorchvisionChange
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
from augment.pairs import ChangedPairs, Fault, Made, Manifest, PairedFolders, PairPlan, PairSource, Scene, Scenes
from augment.perturb import BoundPerturbations, Perturb, Perturbations
from augment.sources.digits import Digits
from augment.sources.image_folder import ImageFolder
from augment.sources.label_manifest import LabelManifest
from augment.sources.patches import Patches
from augment.sources.scene_materials import SceneMaterials
from augment.sources.segment_digits import SegmentDigits
from augment.sources.source import MultiLabelSource, Portion, Source, group_numbers
from augment.sources.torchvision_images import CIFAR10, MNIST, FashionMNIST
from augment.spatial import SpatialChange
from augment.store.contact_sheet import contact_sheet
from augment.store.reading import Pair, PairStore
from augment.store.writing import WrittenPairs, write_pairs
from augment.transform import ChangeTransform, ImageTransform

__all__ = [name for name, value in globals().items() if getattr(value, "__module__", "").startswith("augment.")]
