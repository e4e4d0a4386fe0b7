"""Randomised smoothing of models that switch labels on and off: a radius for each label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from torch import Tensor

from perturbsets._types import Samples
from perturbsets.certificates.smoothing import SmoothedRadii, Smoothing
from perturbsets.certificates.votes import Prediction
from perturbsets.intervals import share_interval
from perturbsets.label_states import label_states
from perturbsets.rows import check_choice, named_rows

Correction = Literal["bonferroni", "none"]


@dataclass(frozen=True, kw_only=True)
class CertifiedLabels(SmoothedRadii):
    """Certificates of every label of every image, ``[B, L]``: classes are 1 for on and 0 for off.

    Attributes:
        correction: Whether ``alpha`` is the chance of error of all of an image's labels together (``"bonferroni"``) or
            of each label (``"none"``).
    """

    correction: Correction

    def curve(self, radii: Iterable[float]) -> list[dict[str, Any]]:
        """Share of the labels, and of the images with all labels, that are correctly certified at each radius.

        The labels of an image are not independent: both intervals are over images, or their groups. Refused if no true
        labels were given.
        """
        points = []
        for radius in radii:
            correct = self.correct(radius)
            shares = {"labels": correct, "images": correct.all(1)}
            intervals = {name: share_interval(flags, self.groups)._asdict() for name, flags in shares.items()}
            points.append({"radius": float(radius), **intervals})
        return points

    @property
    def sentence(self) -> str:
        whose = "all labels of an image together" if self.correction == "bonferroni" else "each label alone"
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for {whose}: the vote on a label under normal noise "
            f"(sigma {self.sigma}) in the parameters of the set is the same for all offsets within the label's radius. "
            "The clean image must be known."
        )

    def summary(self) -> dict[str, Any]:
        return {**super().summary(), "labels": self.classes.shape[1], "correction": self.correction}


@dataclass(frozen=True)
class SmoothedLabels(Smoothing[CertifiedLabels]):
    r"""The vote on each label under normal noise in the offsets of a set.

    .. math:: R_l(x) = \sigma\, \Phi^{-1}(\underline{p}_l)

    with :math:`\underline p_l` the Clopper-Pearson bound for the guessed state of label l. A label is on where its
    logit is above 0. With ``"bonferroni"`` each of an image's L labels has the level α/L, so that all its certificates
    hold together with confidence 1 - α: a statement on an image's set of labels needs that.

    The model maps samples to logits ``[B, L]``; further arguments are those of
    :class:`~perturbsets.certificates.smoothing.Smoothing`.

    Args:
        correction: ``"bonferroni"``, or ``"none"`` for a chance of error of each label.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019; each label is a
        vote between two classes.
    """

    _: KW_ONLY
    correction: Correction = "bonferroni"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("correction", self.correction, Correction)

    def _prediction(self, outputs: Tensor) -> Prediction:
        if outputs.ndim != 2 or not outputs.shape[1]:
            raise ValueError(f"model must return logits [B, L], one for each label, got {list(outputs.shape)}")
        return (outputs > 0).long(), 2

    def _check_labels(self, labels: Tensor, images: Samples) -> Tensor:
        states = label_states(labels, len(images), each_known=False)
        unknown = states.isnan().any(1)
        if bool(unknown.any()):
            raise ValueError(
                f"labels must be 0 or 1 to count what is correct, none unknown, got NaN in {named_rows(unknown)}: "
                "leave these out"
            )
        return states.long()

    def _level(self, alpha: float, places: int) -> float:
        return alpha / places if self.correction == "bonferroni" else alpha

    def _conclude(self, guesses: Tensor, votes: dict[str, Any]) -> CertifiedLabels:
        return CertifiedLabels(**self._bounds(guesses, votes), **votes, correction=self.correction)
