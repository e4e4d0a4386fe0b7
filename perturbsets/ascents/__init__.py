"""Ascents: how to climb an objective inside a region."""

from perturbsets.ascents.base import Ascent, Best
from perturbsets.ascents.gradient_ascent import GradientAscent
from perturbsets.ascents.one_step import OneStep
from perturbsets.ascents.projected_gradient import ProjectedGradient
from perturbsets.ascents.random_search import RandomSearch

__all__ = ["Ascent", "Best", "GradientAscent", "OneStep", "ProjectedGradient", "RandomSearch"]
