"""Our transforms in albumentations' pipelines, and worker seeds for any such pipeline."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for news

from augment.albumentations.base import SeededTransform
from augment.albumentations.corruptions import Corruption, RandomCorruption
from augment.albumentations.workers import reseed, seed_worker

__all__ = ["Corruption", "RandomCorruption", "SeededTransform", "reseed", "seed_worker"]
