"""Certificates: statements with a confidence, which need no trust in the network that they speak of.

A criterion measures the pairs at hand; a certificate says what holds for pairs, or draws, that nobody has seen. It
rests on counting alone, and so the evidence for each is the binomial distribution and simulation.
"""

from perturbsets.certificates.share import chance_of_at_least, share_at_least, share_at_most

__all__ = ["chance_of_at_least", "share_at_least", "share_at_most"]
