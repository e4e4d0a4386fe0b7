"""Perturbation sets: what may happen to a sample."""

from perturbsets.sets.balls import L1Ball, L2Ball
from perturbsets.sets.base import Ball, LinfBall, PerturbationSet, Region
from perturbsets.sets.changes import DrawnChanges, SpatialBox
from perturbsets.sets.composed import ComposedSet, ProductBall
from perturbsets.sets.latent import LatentBall
from perturbsets.sets.pairs_used import PairsUsed
from perturbsets.sets.pixel import PixelBall
from perturbsets.sets.standardized import Standardized
