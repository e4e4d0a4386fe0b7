"""Adversaries: one set, objective and ascent, or several of them; and outer searches over the radius."""

from perturbsets.adversaries.adversary import Adversary, AttackResult
from perturbsets.adversaries.fast_minimum_norm import fast_minimum_norm
from perturbsets.adversaries.smallest_radius import SmallestRadius, bisect
from perturbsets.adversaries.universal import UniversalChange, find_universal
from perturbsets.adversaries.worst import Worst, WorstResult
