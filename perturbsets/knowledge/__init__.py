"""Knowledge: rules that link the labels of an image to its class."""

from perturbsets.knowledge.bound_rules import BoundRules
from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, read_formula
from perturbsets.knowledge.rules import Rules

__all__ = ["And", "BoundRules", "Formula", "LabelIs", "Or", "Rules", "read_formula"]
