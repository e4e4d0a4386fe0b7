"""The smallest radius at which an adversary succeeds, image by image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from perturbsets._types import Flags, Model, PerImage, Samples
from perturbsets.adversaries.adversary import Adversary, Rank
from perturbsets.model_call import check_call, ordinary, preserve_state
from perturbsets.objectives.general import Penalized
from perturbsets.printing import Printed
from perturbsets.rows import check_choice, take_rows

Over = Literal["radius", "weight"]
HALVINGS = 20.0  # of the largest weight: down to a millionth of it


@dataclass(frozen=True)
class SmallestRadius(Printed):
    """The smallest radius at which the attack on each image succeeds.

    At radius 0 a set has one member, that at offset 0. Of a pixel or spatial set it is the clean sample; of a learned
    set it is g(x, 0), the generator's version of it: one may be misclassified where the other is not.

    Attributes:
        radii: Smallest radius at which the attack succeeded: 0 where the member at offset 0 is a success, infinite
            where there was none. An upper bound of the true one.
        images: The adversarial samples; the clean one where there was no success.
        calls: Forward passes spent on each image.
        clean: Whether the clean sample itself is a success.
    """

    radii: PerImage
    images: Samples
    calls: Tensor
    clean: Flags

    def __repr__(self) -> str:
        found = self.radii[self.radii.isfinite()]
        median = f", median radius {float(found.median()):.4g}" if len(found) else ""
        return f"SmallestRadius({len(found)} successes on {len(self.radii)} images{median})"

    def accuracy(self, radius: Tensor) -> Tensor:
        """Robust accuracy at radii: the whole curve from one search.

        Radii are of any shape, in the unit of the set. At radius 0 of a learned set it is the accuracy on g(x, 0); that
        on clean samples is ``1 - clean.double().mean()``.
        """
        ordered = self.radii.sort().values
        fallen = torch.searchsorted(ordered, radius.to(ordered), right=True)
        return 1 - fallen.to(ordered.dtype) / len(ordered)


@torch.inference_mode(False)  # what is made inside is ordinary, whatever the caller's setting
@torch.no_grad()
def bisect(
    adversary: Adversary,
    model: Model | None,
    images: Samples,
    labels: Any,
    *,
    largest: float,
    over: Over = "radius",
    rounds: int = 10,
    generator: torch.Generator | None = None,
) -> SmallestRadius:
    r"""Bisects the smallest radius at which an attack succeeds, or the largest penalty weight, for all images at once.

    Each image has a radius, or weight, of its own in every round, so that a round costs one attack on the images still
    undecided. Weights are bisected on the scale of their logarithms, down to a millionth of the largest.

    Args:
        adversary: The adversary: on any set with a ``radius``, or with a :class:`~perturbsets.Penalized` objective; its
            own radius or weight is not used. Leave its step size to be a share of the radius.
        model: The model under attack.
        images: Clean samples.
        labels: What the objective needs, a row per image.
        largest: Largest radius or weight searched, above 0 and finite.
        over: Search the smallest ``"radius"`` of the set, or the largest ``"weight"`` of the penalty.
        rounds: Halvings; radii are known to :math:`\text{largest} / 2^{\text{rounds}}`.
        generator: For random starts and draws.

    Returns:
        The result; over weights, its radii are the norms of the adversarial offsets.

    Raises:
        ValueError: If there is nothing to search over, or a number is outside its range.

    References:
        Szegedy et al., *Intriguing properties of neural networks*, 2014, sec. 4.1 (the search over the weight).

    Example:
        >>> from perturbsets import PixelBall
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x = torch.rand(5, 1, 2, 2)
        >>> result = bisect(Adversary(PixelBall("l2", 1.0)), model, x, model(x).argmax(1), largest=2.0)
        >>> result.accuracy(torch.tensor([0.0, 0.5, 1.0])).shape
        torch.Size([3])
    """
    check_call(model, images)
    _check(adversary, largest, over, rounds)
    # Levels rise from what is hardest for the adversary: a radius itself, or halvings of the weight.
    top = largest if over == "radius" else HALVINGS
    if over == "weight" and getattr(adversary.ascent, "stop_on_success", False):
        ascent: Any = adversary.ascent  # never stopped early: success counts at the highest value only
        adversary = replace(adversary, ascent=replace(ascent, stop_on_success=False))
    rank: Rank = "success" if over == "radius" else "value"
    count = len(images)
    low = images.new_zeros(count, dtype=torch.promote_types(images.dtype, torch.float32))  # halves end after 8 rounds
    high = torch.full_like(low, float("inf"))
    norms, best = high.clone(), images.detach().clone()
    clean, spent = _clean(adversary, model, images, labels)
    calls = torch.full((count,), spent, dtype=torch.int64, device=images.device)
    tried = [low.clone(), torch.full_like(low, top)]
    for number in range(rounds + 2):
        level = tried[number] if number < 2 else (low + high) / 2
        # A success at the hardest level, or none at the easiest: nothing is left to search.
        rows = ((high > 0) & ((number < 2) | high.isfinite())).nonzero()[:, 0]
        if not len(rows):
            break
        attack: Any = adversary.select(rows)
        if over == "radius":
            attack = replace(attack, perturbations=replace(attack.perturbations, radius=level[rows]))
        else:
            attack = replace(attack, objective=replace(attack.objective, weight=largest * 0.5 ** level[rows]))
        result = attack(model, images[rows], take_rows(labels, rows), generator=generator, rank=rank)
        won, lost = rows[result.success], rows[~result.success]
        high[won], best[won] = level[won], result.images[result.success]
        norms[won] = result.offsets[result.success].norm(dim=1).to(norms)
        low[lost] = level[lost]
        calls[rows] += result.calls
    return SmallestRadius(high if over == "radius" else norms, best, calls, clean)


def _clean(adversary: Adversary, model: Model | None, images: Samples, labels: Any) -> tuple[Flags, int]:
    """Whether clean samples are successes, and the forward passes spent on each."""
    if not len(images):
        return torch.zeros(0, dtype=torch.bool, device=images.device), 0
    with preserve_state(model, images, adversary.mode) as bare, torch.no_grad():
        samples = ordinary(images).detach()
        loss = adversary.objective.at(bare, samples, ordinary(labels))
        _, success = loss(samples, adversary.perturbations.at(samples).centre())
    return success, loss.calls + 1


def _check(adversary: Adversary, largest: float, over: str, rounds: int) -> None:
    check_choice("over", over, Over)
    if over == "radius" and not hasattr(adversary.perturbations, "radius"):
        kind = type(adversary.perturbations).__name__
        raise ValueError(f"adversary must search a set with a radius, got {kind}: there is nothing to bisect")
    if over == "weight" and not isinstance(adversary.objective, Penalized):
        kind = type(adversary.objective).__name__
        raise ValueError(f"adversary must have the objective Penalized to bisect its weight, got {kind}")
    if not 0 < largest < float("inf") or rounds < 1:
        raise ValueError(
            f"largest must be above 0 and finite, rounds at least 1, got largest={largest}, rounds={rounds}"
        )
