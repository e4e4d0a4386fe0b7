"""Knowledge: rules that link the labels of an image to its class."""

from perturbsets.knowledge.bound_rules import BoundRules
from perturbsets.knowledge.formula import And, Formula, LabelIs, Or, read_formula
from perturbsets.knowledge.rejection import Rejection, evaluate_rejection, rejection_threshold
from perturbsets.knowledge.rule_penalized import RulePenalized
from perturbsets.knowledge.rules import Rules
