"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from augment.corruptions.colour import Brightness, Contrast, Saturate
from augment.corruptions.constants import SETTINGS
from augment.corruptions.digital import JpegCompression, Pixelate
from augment.corruptions.elastic import ElasticTransform
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from augment.corruptions.severities import CLASSES, at_severity
from augment.corruptions.weather import Fog, Frost, Snow, Spatter

__all__ = [
    "CLASSES",
    "SETTINGS",
    "Brightness",
    "CommonCorruption",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "ElasticTransform",
    "Fog",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "ImpulseNoise",
    "JpegCompression",
    "MotionBlur",
    "Pixelate",
    "RandomCorruption",
    "Saturate",
    "ShotNoise",
    "Snow",
    "Spatter",
    "SpeckleNoise",
    "ZoomBlur",
    "at_severity",
]
