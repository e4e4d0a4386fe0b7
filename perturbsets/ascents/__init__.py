"""Ascents: how to climb an objective inside a region."""

from perturbsets.ascents.accelerated_gradient import AcceleratedGradient, duality_gap
from perturbsets.ascents.apgd import APGD
from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.projected_gradient import GradientAscent, OneStep, ProjectedAdam, ProjectedGradient
from perturbsets.ascents.projected_lbfgs import ProjectedLBFGS
from perturbsets.ascents.search import GridSearch, RandomSearch
from perturbsets.ascents.square import Square
