"""The 19 common corruptions as transforms, with settings of one's own or at their published severities."""

from augment.corruptions.base import CommonCorruption
from augment.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from augment.corruptions.digital import Brightness, Contrast, ElasticTransform, JpegCompression, Pixelate, Saturate
from augment.corruptions.named import Corruption, RandomCorruption
from augment.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from augment.corruptions.severities import CLASSES, SETTINGS, at_severity
from augment.corruptions.weather import Fog, Frost, Snow, Spatter
