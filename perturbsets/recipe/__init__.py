"""Recipes: one YAML file a result, checked whole before any work starts."""

from perturbsets.recipe.reading import read_recipe
from perturbsets.recipe.schema import Recipe

__all__ = ["Recipe", "read_recipe"]
