"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.colour import Brightness, Contrast, Saturate
from augment.corruptions.elastic import ElasticTransform
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.noise import GaussianNoise
from augment.corruptions.severities import CLASSES, SETTINGS, at_severity
from augment.corruptions.weather import Fog, Frost, Snow, Spatter

__all__ = [
    "CLASSES",
    "SETTINGS",
    "Brightness",
    "CommonCorruption",
    "Contrast",
    "Corruption",
    "ElasticTransform",
    "Fog",
    "Frost",
    "GaussianNoise",
    "RandomCorruption",
    "Saturate",
    "Snow",
    "Spatter",
    "at_severity",
]
