"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.common import (
    Brightness,
    Contrast,
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
    Saturate,
    ShotNoise,
    Snow,
    Spatter,
    SpeckleNoise,
    ZoomBlur,
)
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.severities import CLASSES, SETTINGS, at_severity
