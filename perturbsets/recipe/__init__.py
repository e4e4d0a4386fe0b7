"""Recipes: one YAML file a result, checked whole before any work starts."""

from perturbsets.recipe.schema import Recipe, read_recipe
