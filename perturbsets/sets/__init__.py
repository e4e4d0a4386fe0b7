"""Perturbation sets: what may happen to a sample."""

from perturbsets.sets.ball import Ball, L2Ball, LinfBall
from perturbsets.sets.base import PerturbationSet, Region
from perturbsets.sets.latent import LatentBall
from perturbsets.sets.pixel import PixelBall
from perturbsets.sets.spatial import SpatialBox

__all__ = [
    "Ball",
    "L2Ball",
    "LatentBall",
    "LinfBall",
    "PerturbationSet",
    "PixelBall",
    "Region",
    "SpatialBox",
]
