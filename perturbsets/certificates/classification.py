"""Randomised smoothing of classifiers: a class and a radius for each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from perturbsets._types import Labels, Samples
from perturbsets.certificates.smoothing import ABSTAIN, SmoothedRadii, Smoothing
from perturbsets.certificates.votes import Prediction, agreements_needed
from perturbsets.intervals import share_interval
from perturbsets.model_call import two_classes
from perturbsets.objectives.classification import class_numbers
from perturbsets.share_bounds import chance_of_at_least, check_chance


@dataclass(frozen=True, kw_only=True)
class Certified(SmoothedRadii):
    """Certificates of the class of each image."""

    def curve(self, radii: Iterable[float]) -> list[dict[str, float | None]]:
        """Certified accuracy at each radius, with its interval over independent units; refused without labels."""
        return [
            {"radius": float(radius), **share_interval(self.correct(radius), self.groups)._asdict()} for radius in radii
        ]

    @property
    def sentence(self) -> str:
        norm = "norm at most R(x)" if not isinstance(self.sigma, Sequence) else "sum of (norm / sigma)^2 at most R(x)^2"
        return (
            f"With confidence {100 * (1 - self.alpha):.4g} % for each image: the vote of the model under normal noise "
            f"(sigma {self.sigma}) in the parameters of the set is the same for all offsets of {norm}. The clean image "
            "x must be known: this classifies no changed image whose original is unknown."
        )


@dataclass(frozen=True)
class Smoothed(Smoothing[Certified]):
    r"""A classifier's vote under normal noise in the offsets of a set, with the radius within which it cannot change.

    .. math:: R(x) = \sigma\, \Phi^{-1}(\underline{p}), \qquad \underline p \le P\big(f(g(x, \eta)) = c\big)

    where the class c is guessed from some draws and its share bounded by others (Clopper and Pearson). The bound is
    *exceeded* with confidence 1 - α, so the ball may be closed. Where it is ½ or less, there is no certificate.

    Of composed sets with noise in every part: with :math:`w = (u_1/\sigma_1, u_2/\sigma_2, \dots)` the noise is
    standard normal, and the theorem for :math:`h(w) = f(g_2(g_1(x, \sigma_1 w_1), \sigma_2 w_2))` and :math:`\sigma =
    1` certifies :math:`\sum_i (\|u_i\| / \sigma_i)^2 \le \Phi^{-1}(\underline p)^2`. Every part needs an L2 ball.

    The model maps samples to logits ``[B, K]``; arguments are those of
    :class:`~perturbsets.certificates.smoothing.Smoothing`.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019, theorem 1 and
        sec. 3.2.

    Example:
        >>> from torch import nn
        >>> from perturbsets import PixelBall
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> smoothed = Smoothed(model, PixelBall("l2", 1.0), sigma=0.25)
        >>> result = smoothed.certify(torch.rand(5, 1, 2, 2), selection=50, draws=500, alpha=0.001)
        >>> bool((result.radii[result.certified] > 0).all())
        True
    """

    def _prediction(self, outputs: Tensor) -> Prediction:
        outputs = two_classes(outputs)
        if outputs.ndim != 2:
            raise ValueError(
                f"model must return logits [B, K], one class per image, got {list(outputs.shape)}: SmoothedLabels and "
                "SmoothedMaps take other outputs"
            )
        return outputs.argmax(1), outputs.shape[1]

    def _check_labels(self, labels: Tensor, images: Samples) -> Tensor:
        return class_numbers(labels, images)

    def _conclude(self, guesses: Tensor, votes: dict[str, Any]) -> Certified:
        return Certified(**self._bounds(guesses, votes), **votes)

    def predict(
        self,
        images: Samples,
        *,
        draws: int = 1000,
        alpha: float = 0.001,
        seeds: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Labels:
        """The vote of each image, or :data:`ABSTAIN` where it is too close to call.

        Args:
            images: Clean samples.
            draws: Votes of each image.
            alpha: Chance α of a wrong class for each image, in (0, 1).
            seeds: As for :meth:`certify`, like the generator and the errors.
            generator: For the seeds.
        """
        check_chance("alpha", alpha)
        agreements_needed(draws, 0.5, alpha / 2)  # of a two-sided test: with fewer it could only abstain
        return winners(self.count_votes(images, draws, "prediction", seeds=seeds, generator=generator), alpha)


def winners(counts: Int64[Tensor, "B K"], alpha: float) -> Labels:
    r"""The most frequent class of each row, or :data:`ABSTAIN`.

    It abstains unless the two most frequent classes differ by the exact two-sided binomial test,

    .. math:: 2\, P\big(\mathrm{Bin}(n_1 + n_2, \tfrac12) \ge n_1\big) \le \alpha .

    α is the chance that a class that is not the most probable one is returned.

    References:
        Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing*, 2019, proposition 1;
        Hung and Fithian, *Rank verification for exponential families*, 2019.
    """
    first, second = counts.topk(2).values.unbind(1)
    chance = 2 * chance_of_at_least(first, first + second, 0.5)
    return counts.argmax(1).masked_fill((chance > alpha).to(counts.device), ABSTAIN)
