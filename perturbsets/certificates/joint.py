r"""Coverage and smoothing in one statement: how often is a member near the change certified to be classified correctly?

A search gives an offset u for the changed image of one pair of each held-out source; smoothing gives a class and a
radius R(x) for the clean one. The source is a *hit* if :math:`\|u\| \le R(x)`, the member g(x, u) lies within τ of the
changed image, and the certified class is the true one; it is *good* if within τ there is a member at whose offset the
vote is the true class. A hit whose certificate holds is good. So, with α₂ the chance that an image's certificate is
wrong,

.. math:: P(\text{good}) \ge P(\text{hit}) - P(\text{certificate wrong}) \ge P(\text{hit}) - \alpha_2 ,

and counting hits bounds :math:`P(\text{hit})` from below with confidence :math:`1 - \alpha_1`. A weak search makes the
statement weaker, never wrong. It is about the nearest member found, not about the changed image itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perturbsets._types import Flags, PerImage
from perturbsets.certificates.covering import at_least, confidence, within_tolerance
from perturbsets.printing import Result
from perturbsets.share_bounds import check_chance, share_at_least


@dataclass(frozen=True)
class JointStatement(Result):
    """A lower bound on the share of future sources with a near member whose vote is the true class.

    Attributes:
        sources: Number of held-out sources, one pair each, of which some are ``hits``.
        share: Lower bound of the share: that of hits, ``hit_share``, less ``failure``.
        error: The error τ; it, ``alpha``, ``failure`` and ``relative`` are those of :func:`joint_statement`.
    """

    sources: int
    hits: int
    error: float
    share: float
    hit_share: float
    alpha: float
    failure: float
    relative: bool = False

    @property
    def sentence(self) -> str:
        """The statement."""
        return (
            f"With confidence {confidence(self.alpha)}, at least {at_least(100 * self.share)} % of future sources "
            f"have a member {within_tolerance(self.error, relative=self.relative)} at which the vote is the true "
            f"class ({self.hits} of {self.sources} held-out sources, less {100 * self.failure:.4g} % for wrong "
            "certificates). It is about the nearest member of the set, not about the changed image."
        )

    def summary(self) -> dict[str, Any]:
        """The statement as plain values."""
        return {**vars(self), "sentence": self.sentence}


def joint_statement(
    norms: PerImage,
    errors: PerImage,
    radii: PerImage,
    correct: Flags,
    *,
    error: float,
    alpha: float,
    failure: float,
    relative: bool = False,
) -> JointStatement:
    """Counts hits among held-out sources and bounds the share of good ones among future ones.

    Args:
        norms: Norm of the offset found for each source's changed image, in the unit of the radii.
        errors: Error of the member there.
        radii: Certified radius of each clean image; 0 where smoothing abstained.
        correct: Whether its certified class is the true one (:meth:`perturbsets.certificates.Certified.correct`).
        error: The error τ that counts as near, in the unit of ``errors``; fixed before these sources were seen.
        alpha: Chance that the statement is wrong, in (0, 1), the α₁ above.
        failure: Chance that the certificate of an image is wrong, in (0, 1): the ``alpha`` of its certificates.
        relative: Whether errors are shares of the pair's own squared change.

    Raises:
        ValueError: If there are no sources, shapes differ, a value is NaN, or a number is out of range.
    """
    check_chance("alpha", alpha)
    check_chance("failure", failure)
    if not error >= 0:  # NaN fails too
        raise ValueError(f"error must be 0 or more, the largest that counts as near, got {error}")
    given: dict[str, Tensor] = {"norms": norms, "errors": errors, "radii": radii, "correct": correct}
    shapes = {name: list(tensor.shape) for name, tensor in given.items()}
    if norms.ndim != 1 or not len(norms) or any(shape != [len(norms)] for shape in shapes.values()):
        raise ValueError(f"norms, errors, radii and correct must hold one entry for each source, got {shapes}")
    for name, tensor in given.items():
        if bool(tensor.isnan().any()):
            raise ValueError(f"{name} must be numbers, got NaN: leave no source out, but find out where it comes from")
    inside = norms.to(radii) <= radii
    hits = int(((errors <= error).to(radii.device) & inside & correct.to(radii.device)).sum())
    bound = float(share_at_least(hits, len(norms), alpha))
    return JointStatement(len(norms), hits, error, max(0.0, bound - failure), bound, alpha, failure, relative)
