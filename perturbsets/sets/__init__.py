"""Perturbation sets: what may happen to a sample."""

from perturbsets.sets.base import Ball, LinfBall, PerturbationSet, Region
from perturbsets.sets.composed import ComposedSet, ProductBall
from perturbsets.sets.drawn import DrawnChanges
from perturbsets.sets.l1 import L1Ball
from perturbsets.sets.l2 import L2Ball
from perturbsets.sets.latent import LatentBall
from perturbsets.sets.pairs_used import PairsUsed
from perturbsets.sets.pixel import PixelBall
from perturbsets.sets.spatial import SpatialBox
from perturbsets.sets.standardized import Standardized
