"""Runs: a recipe carried out stage by stage in a folder of its own."""

from perturbsets.runs.folder import RunFolder
from perturbsets.runs.pipeline import execute
