"""Knowledge: rules that link the labels of an image to its class."""

from perturbsets.knowledge.bound_rules import BoundRules
from perturbsets.knowledge.consistent import Consistent
from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, read_formula
from perturbsets.knowledge.rejection import Rejecting, rejecting, rejection_threshold
from perturbsets.knowledge.rules import Rules
