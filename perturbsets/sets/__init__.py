"""Perturbation sets: what may happen to a sample."""

from perturbsets.sets.ball import Ball
from perturbsets.sets.base import PerturbationSet, Region
from perturbsets.sets.composed import Compose
from perturbsets.sets.drawn import DrawnChanges
from perturbsets.sets.l1 import L1Ball
from perturbsets.sets.l2 import L2Ball
from perturbsets.sets.latent import LatentBall
from perturbsets.sets.linf import LinfBall
from perturbsets.sets.pairs_used import PairsUsed
from perturbsets.sets.pixel import PixelBall
from perturbsets.sets.product import ProductBall
from perturbsets.sets.spatial import SpatialBox
from perturbsets.sets.standardized import Standardized

__all__ = [
    "Ball",
    "Compose",
    "DrawnChanges",
    "L1Ball",
    "L2Ball",
    "LatentBall",
    "LinfBall",
    "PairsUsed",
    "PerturbationSet",
    "PixelBall",
    "ProductBall",
    "Region",
    "SpatialBox",
    "Standardized",
]
