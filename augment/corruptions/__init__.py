"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.noise import GaussianNoise
from augment.corruptions.severities import CLASSES, SETTINGS, at_severity

__all__ = [
    "CLASSES",
    "SETTINGS",
    "CommonCorruption",
    "Corruption",
    "GaussianNoise",
    "RandomCorruption",
    "at_severity",
]
