"""The likelihood of a changed image as a function of the offset: its value, and how pixels move there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cvae.likelihood import GaussianLikelihood
from perturbsets._types import Draws, Images, LogWeights, Offsets, Rows
from perturbsets.sets.latent import LatentRegion

TOGETHER = 256  # images decoded at a time
EXTREME = 1e-3  # a Bernoulli probability nearer to 0 or 1 tells no more than one that far away
NAMED = 5  # pairs named in a message

Pixels = Float[Tensor, "N B P"]
Slopes = Float[Tensor, "B P Z"]
Gain = Float[Tensor, "B Z P"]


class OffsetLikelihood:
    r"""The likelihood :math:`p(\tilde x \mid u, x)` of pairs, for many offsets u of each.

    Args:
        region: The set, bound to the clean images.
        changed: The changed images.
        numbers: Number of each pair, by which messages name it.
    """

    def __init__(self, region: LatentRegion, changed: Images, numbers: Rows) -> None:
        self.region, self.changed, self.numbers = region, changed, numbers
        self.model = region.perturbations.model

    def keep(self, rows: Rows) -> OffsetLikelihood:
        """That of some of the pairs, or of the same ones several times."""
        return OffsetLikelihood(self.region.keep(rows), self.changed[rows], self.numbers[rows])

    def __call__(self, offsets: Draws) -> tuple[LogWeights, LogWeights]:
        """Log-likelihood in nats, in float64, and mean squared error per pixel.

        Args:
            offsets: Offsets in the ball.

        Raises:
            ValueError: If the generator returns NaN or infinity there; the message names the pairs.
        """
        values, errors = [], []
        changed = self.changed.flatten(1)
        for images in self._decode(offsets):
            target = changed.expand_as(images)
            errors.append((images - target).square().mean(2))
            self._refuse(~errors[-1].isfinite())
            both = (part.reshape(-1, *self.model.shape) for part in (images, target))
            statistic = self.model.likelihood.statistic(*both).double()
            values.append(self.model.likelihood.log_prob(statistic, self.model.pixels).view(images.shape[:2]))
        return torch.cat(values), torch.cat(errors)

    def pull(self, offsets: Draws, gain: Gain) -> Draws:
        """What is generated too much, through a matrix per pair: ``gain @ (g - changed)``, in float64.

        Args:
            offsets: Any offsets; where a pixel is not finite the result is zero.
            gain: One matrix per pair.
        """
        changed = self.changed.flatten(1)
        parts = [(gain @ (images - changed).permute(1, 2, 0)).permute(2, 0, 1) for images in self._decode(offsets)]
        return torch.cat(parts).double().nan_to_num(0, 0, 0)

    def information(self, offsets: Offsets) -> Float[Tensor, "B P"]:
        r"""Fisher information of each pixel about its mean: :math:`1/s^2`, or :math:`1/g(1-g)` for Bernoulli pixels."""
        images = next(self._decode(offsets[None]))[0]
        if isinstance(self.model.likelihood, GaussianLikelihood):
            return torch.ones_like(images) / self.model.likelihood.scale.square()
        chance = images.nan_to_num(0.5).clamp(EXTREME, 1 - EXTREME)
        return 1 / (chance * (1 - chance))

    def secants(self, offsets: Offsets, lengths: Offsets, *, sides: int = 2) -> Slopes:
        """Slopes of all pixels along all coordinates, over steps of given lengths.

        Differences serve better than derivatives here: they look as far as an offset is uncertain and so past the kinks
        of interpolated and clipped images, they need no support of a layer for forward derivatives, and in small models
        they are several times as fast.

        Args:
            offsets: Where.
            lengths: Length of the step along each coordinate.
            sides: Whether to step to one side or to both.
        """
        steps = torch.diag_embed(lengths).transpose(0, 1)
        ahead = torch.cat(list(self._decode(offsets + steps)))
        behind = torch.cat(list(self._decode(offsets - steps if sides == 2 else offsets[None])))
        return ((ahead - behind) / (sides * lengths.T[..., None])).nan_to_num(0, 0, 0).permute(1, 2, 0)

    def _decode(self, offsets: Draws) -> Iterator[Pixels]:
        """Pixels at all offsets, some draws at a time."""
        pairs = offsets.shape[1]
        for some in offsets.to(self.region.dtype).split(max(1, TOGETHER // pairs)):
            many = self.region.keep(torch.arange(pairs, device=offsets.device).repeat(len(some)))
            yield many.decode(some.flatten(0, 1)).flatten(1).unflatten(0, some.shape[:2])

    def _refuse(self, bad: Bool[Tensor, "N B"]) -> None:
        if bool(bad.any()):
            pairs = self.numbers[bad.any(0).to(self.numbers.device)].tolist()
            raise ValueError(
                f"perturbations must decode to finite images, got NaN or infinity inside the ball on {len(pairs)} "
                f"pairs, numbers {', '.join(map(str, pairs[:NAMED]))}{', ...' if len(pairs) > NAMED else ''}: look at "
                "these pairs, then fit the model again or choose a smaller radius"
            )
