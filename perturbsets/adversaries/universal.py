"""Universal perturbations: shared offsets that raise an objective on many images at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from perturbsets._types import Flags, Model, Offsets, PerImage, Rows, Samples
from perturbsets.ascents.base import finite_radii, slope
from perturbsets.ascents.projected_gradient import shares
from perturbsets.model_call import check_call, given_or_fresh, ordinary, preserve_state
from perturbsets.objectives.base import Objective
from perturbsets.printing import Printed
from perturbsets.rows import as_tensor, batches
from perturbsets.sets.base import PerturbationSet, Region

Shared = Float[Tensor, "1 Z"]


@dataclass(frozen=True)
class UniversalChange(Printed):
    """A universal perturbation: one row of offsets for any image.

    Attributes:
        offsets: The offsets, in the set's own unit.
        perturbations: The set.
    """

    offsets: Shared
    perturbations: PerturbationSet

    @torch.inference_mode(False)
    @torch.no_grad()
    def images(self, images: Samples) -> Samples:
        """Changes images, also others than those it was computed on, each cut by its own bounds.

        Raises:
            ValueError: If images are not as the set needs them, or of another size.
        """
        images = ordinary(images)
        region = self.perturbations.at(images)
        if region.size != self.offsets.shape[1]:
            raise ValueError(
                f"images must be such that the set has {self.offsets.shape[1]} offsets, as those it was computed "
                f"on, got {region.size}"
            )
        return region.decode(_own(region, self.offsets.to(images.device)))


def find_universal(
    perturbations: PerturbationSet,
    objective: Objective,
    model: Model | None,
    images: Samples,
    labels: Any,
    *,
    epochs: int = 10,
    step_size: float | None = None,
    batch: int = 64,
    generator: torch.Generator | None = None,
) -> UniversalChange:
    r"""Raises the mean of an objective over images by stochastic steepest steps of one vector of offsets.

    .. math:: u \leftarrow \Pi_B\Big(u + \eta_t\, d\Big(\sum_{i \in b_t} \nabla_u \ell(g(x_i, u), y_i)\Big)\Big)

    with d the unit step of the ball's norm, b batches drawn without replacement, and steps that shrink as a cosine. The
    ball is shared. The bounds are each image's own: offsets are cut by them where they are applied, and coordinates
    where an image is cut do not count in its gradient.

    Args:
        perturbations: A set whose offsets mean the same for every image: pixels, angles, latents. One radius.
        objective: What to raise, on average: one without an upper limit, such as cross-entropy, may be dominated by a
            few images.
        model: The model under attack; evaluated in evaluation mode and left as it was.
        images: Images to compute it on.
        labels: What the objective needs, a row per image.
        epochs: Passes over the images with gradients. Each is followed by one without, since the best offsets at the
            end of an epoch are returned: those of most successes, then of the highest mean loss.
        step_size: First step η, in the unit of the set. By default a tenth of the radius, or more where so few
            steps would not cover twice the radius together.
        batch: Images a step.
        generator: For the order of the images; a fresh one, seeded by the system, if not given.

    Raises:
        ValueError: If a setting is outside its range, there are no images, the set has a radius for each image or
            cannot be climbed, or the objective's values or gradients are not finite.

    References:
        Moosavi-Dezfooli, Fawzi, Fawzi and Frossard, *Universal adversarial perturbations*, 2017, who add up DeepFool
        steps; Shafahi et al., *Universal adversarial training*, 2020 (stochastic gradients).

    Example:
        >>> from perturbsets import CrossEntropy, PixelBall
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x = torch.rand(20, 1, 2, 2)
        >>> change = find_universal(PixelBall("linf", 0.1), CrossEntropy(), model, x, model(x).argmax(1), epochs=2)
        >>> change.images(torch.rand(5, 1, 2, 2)).shape
        torch.Size([5, 1, 2, 2])
    """
    check_call(model, images)
    if epochs < 1 or batch < 1 or not len(images) or (step_size is not None and not step_size > 0):
        raise ValueError(
            "epochs, batch and the number of images must be at least 1 and step_size above 0, got "
            f"epochs={epochs}, batch={batch}, {len(images)} images, step_size={step_size}"
        )
    if torch.as_tensor(getattr(perturbations, "radius", 0.0)).ndim:
        raise ValueError("perturbations must have one radius for a change that is shared, got one for each image")
    generator = given_or_fresh(generator)
    with preserve_state(model, images) as model:
        images, labels = ordinary(images).detach(), as_tensor(ordinary(labels)).to(images.device)
        region = perturbations.at(images[:1])
        if not region.searchable:
            raise ValueError(f"perturbations must be a set that can be climbed, got {type(perturbations).__name__}")
        search = _Search(perturbations, objective, model, images, labels)
        rounds = shares("cosine", epochs * math.ceil(len(images) / batch))
        step = max(0.1, 2 / sum(rounds)) * float(finite_radii(region)) if step_size is None else step_size
        u = best = region.centre()
        highest = search.evaluate(u, batch)
        for epoch in range(epochs):
            order = torch.randperm(len(images), generator=generator, device=generator.device)
            parts = order.to(images.device).split(batch)
            for share, rows in zip(rounds[epoch * len(parts) :], parts, strict=False):
                u = region.ball.project(u + share * step * region.ball.steepest(search.gradient(u, rows)))
            if (reached := search.evaluate(u, batch)) > highest:
                highest, best = reached, u
        return UniversalChange(best, perturbations)


@dataclass(frozen=True)
class _Search(Printed):
    """Values and gradients of shared offsets on images."""

    perturbations: PerturbationSet
    objective: Objective
    model: Model | None
    images: Tensor
    labels: Tensor

    def gradient(self, shared: Shared, rows: Rows) -> Shared:
        """The gradient of the sum of some images' values in the shared offsets."""
        own, value, _ = self._values(shared, rows)
        moved = own.detach().isclose(shared, rtol=1e-4, atol=0)  # elsewhere bounds cut, by more than rounding
        total = (slope(value, own) * moved).sum(0, keepdim=True)
        if not bool(total.isfinite().all()):
            raise ValueError(
                "objective must have finite gradients, got NaN or infinity in a batch: leave unknown labels out with "
                "torch.where before they are counted, not after"
            )
        return total

    @torch.no_grad()
    def evaluate(self, shared: Shared, batch: int) -> tuple[int, float]:
        """Number of successes, and the mean value."""
        success, total = 0, 0.0
        for rows in batches(self.images, batch):
            _, value, flags = self._values(shared, rows)
            success, total = success + int(flags.sum()), total + float(value.cpu().double().sum())
        return success, total / len(self.images)

    def _values(self, shared: Shared, rows: Rows) -> tuple[Offsets, PerImage, Flags]:
        images = self.images[rows]
        region = self.perturbations.at(images)
        own = _own(region, shared).requires_grad_(torch.is_grad_enabled())
        value, success = self.objective.at(self.model, images, self.labels[rows])(region.decode(own), own)
        if not bool(value.isfinite().all()):
            raise ValueError(
                f"model must return finite values, got NaN or infinity on {int((~value.isfinite()).sum())} images of a "
                "batch: such a change would count as a false success"
            )
        return own, value, success


def _own(region: Region, shared: Shared) -> Offsets:
    """Shared offsets, as each image of a region can take them."""
    return region.project(shared.detach().expand(len(region.images), -1)).detach()
