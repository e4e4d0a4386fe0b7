"""Certificates: statements with a confidence, which need no trust in the network that they speak of.

A criterion measures the pairs at hand; a certificate says what holds for pairs, or draws, that nobody has seen. It
rests on counting alone, and so the evidence for each is the binomial distribution and simulation.
"""

from perturbsets.certificates.contradiction import Contradictions, find_contradictions
from perturbsets.certificates.joint import JointStatement, joint_statement
from perturbsets.certificates.multi_label import CertifiedLabels, SmoothedLabels
from perturbsets.certificates.segmentation import CertifiedMaps, SmoothedMaps
from perturbsets.certificates.share import chance_of_at_least, share_at_least, share_at_most
from perturbsets.certificates.smoothing import Certified, Smoothed
from perturbsets.certificates.votes import ABSTAIN

__all__ = [
    "ABSTAIN",
    "Certified",
    "CertifiedLabels",
    "CertifiedMaps",
    "Contradictions",
    "JointStatement",
    "Smoothed",
    "SmoothedLabels",
    "SmoothedMaps",
    "chance_of_at_least",
    "find_contradictions",
    "joint_statement",
    "share_at_least",
    "share_at_most",
]
