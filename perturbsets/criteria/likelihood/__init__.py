"""The sufficient likelihood property, and how its integral is estimated."""

from perturbsets.criteria.likelihood.sufficient import SufficientLikelihood, SufficientResult
