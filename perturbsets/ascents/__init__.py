"""Ascents: how to climb an objective inside a region."""

from perturbsets.ascents.accelerated_gradient import AcceleratedGradient, duality_gap
from perturbsets.ascents.apgd import APGD
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.gradient_ascent import GradientAscent
from perturbsets.ascents.grid_search import GridSearch
from perturbsets.ascents.one_step import OneStep
from perturbsets.ascents.projected_adam import ProjectedAdam
from perturbsets.ascents.projected_gradient import ProjectedGradient
from perturbsets.ascents.projected_lbfgs import ProjectedLBFGS
from perturbsets.ascents.random_search import RandomSearch
from perturbsets.ascents.square import Square

__all__ = [
    "APGD",
    "AcceleratedGradient",
    "Ascent",
    "Best",
    "GradientAscent",
    "GridSearch",
    "OneStep",
    "ProjectedAdam",
    "ProjectedGradient",
    "ProjectedLBFGS",
    "RandomSearch",
    "Square",
    "duality_gap",
]
