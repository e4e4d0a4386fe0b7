"""Certificates: statements with a confidence that assume nothing of the network.

A criterion measures the pairs at hand; a certificate bounds what holds for unseen pairs, or draws, by counting alone.

- :class:`Coverage`: "with confidence 1 − α, at least a share p of future pairs lies within tolerance τ of the set".
- :class:`CoveringRadius`: the radius that suffices for that.
- :class:`Smoothed`, :class:`SmoothedLabels`, :class:`SmoothedMaps`: radii within which votes under noise cannot change.

Splits by source (image or scene) are disjoint: fit; selection and radius; certificate. Pairs that a learned set was
fitted on are refused. One random pair of each source counts, as pairs of one source are not independent.
"""

from perturbsets.certificates.classification import Certified, Smoothed
from perturbsets.certificates.contradiction import Contradictions, find_contradictions
from perturbsets.certificates.coverage import Coverage, CoverageCertificate, coverage
from perturbsets.certificates.covering import Covering, draw_pairs, one_per_source, sources_needed, tolerance_limit
from perturbsets.certificates.joint import JointStatement, joint_statement
from perturbsets.certificates.multi_label import CertifiedLabels, SmoothedLabels
from perturbsets.certificates.radius import CoveringRadius, RadiusCertificate, covering_radius, needed_radii
from perturbsets.certificates.segmentation import CertifiedMaps, SmoothedMaps
from perturbsets.certificates.smoothing import ABSTAIN
