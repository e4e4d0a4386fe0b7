"""Certificates: statements with a confidence, which need no trust in the network that they speak of.

A criterion measures the pairs at hand; a certificate says what holds for pairs, or draws, that nobody has seen. It
rests on counting alone, and so the evidence for each is the binomial distribution and simulation.

- :class:`Coverage`: "with confidence 1 − α, at least a share p of future pairs lies within tolerance τ of the set".
- :class:`CoveringRadius`: the radius that suffices for that.

Sources of pairs, images or scenes, take part in one thing only: fit; selection and radius; certificate. A learned set
remembers those that it has seen, and they are refused. From each of the others one random pair counts, as pairs of one
source are not independent.
"""

from perturbsets.certificates.contradiction import Contradictions, find_contradictions
from perturbsets.certificates.coverage import Coverage, CoverageCertificate, coverage
from perturbsets.certificates.covering import Covering, draw_pairs, one_per_source, sources_needed, tolerance_limit
from perturbsets.certificates.joint import JointStatement, joint_statement
from perturbsets.certificates.multi_label import CertifiedLabels, SmoothedLabels
from perturbsets.certificates.radius import CoveringRadius, RadiusCertificate, covering_radius, needed_radii
from perturbsets.certificates.segmentation import CertifiedMaps, SmoothedMaps
from perturbsets.certificates.smoothing import Certified, Smoothed
from perturbsets.certificates.votes import ABSTAIN
