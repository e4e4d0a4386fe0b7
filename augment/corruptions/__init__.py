"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from augment.corruptions.digital import JpegCompression, Pixelate
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from augment.corruptions.severities import CLASSES, SETTINGS, at_severity

__all__ = [
    "CLASSES",
    "SETTINGS",
    "CommonCorruption",
    "Corruption",
    "DefocusBlur",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "ImpulseNoise",
    "JpegCompression",
    "MotionBlur",
    "Pixelate",
    "RandomCorruption",
    "ShotNoise",
    "SpeckleNoise",
    "ZoomBlur",
    "at_severity",
]
