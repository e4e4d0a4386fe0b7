"""Our transforms in albumentations' pipelines, and worker seeds for any such pipeline."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for news

from augment.extras import extra

with extra("albumentations", __name__):
    from augment.albumentations.transforms import Corruption, RandomCorruption, SeededTransform
    from augment.albumentations.workers import reseed, seed_worker
