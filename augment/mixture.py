"""Chains of transforms, mixed with each other and with the image itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from augment._types import Images
from augment.functional import draw_seeds
from augment.transform import ImageTransform, Rows

Chain = ImageTransform | Sequence[ImageTransform]
"""One transform, or several that follow each other."""


class Mixture(ImageTransform):
    r"""A random convex combination of an image and the results of several chains of transforms, as in AugMix.

    .. math:: m\,x + (1 - m) \sum_i w_i\, f_i(x), \quad w \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha), \quad
              m \sim \mathrm{Beta}(\alpha, \alpha)

    Each image draws its own weights and its own parameters of every chain. AugMix has three chains of up to three
    transforms; here chains are made of any transforms of this package, draws from learned sets included.

    Args:
        chains: One or more; each a transform, or a sequence of transforms.
        alpha: Concentration :math:`\alpha > 0`; large values give even weights, small ones choose one chain.
        generator: For all draws, as for :class:`augment.ImageTransform`; generators of the chains are not used.
        return_parameters: Whether to return ``(sample, parameters)``: m, the weights, then the chains' rows.

    Raises:
        ValueError: If there is no chain, one is empty, or `alpha` is not positive.
        TypeError: If a chain holds anything but transforms of this package.

    References:
        Hendrycks et al., *AugMix: a simple data processing method to improve robustness and uncertainty*, ICLR 2020.

    Example:
        >>> from augment import Corruption, RandomCorruption
        >>> noise = Corruption("gaussian_noise", 1)
        >>> Mixture([noise, [noise, noise], RandomCorruption(["fog"])])(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        alpha: float = 1.0,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
    ) -> None:
        listed = [[chain] if isinstance(chain, nn.Module) else list(chain) for chain in chains]
        if not listed or not all(listed):
            raise ValueError(f"chains must hold at least one, and each at least one transform, got {chains}")
        for transform in (transform for chain in listed for transform in chain):
            if not isinstance(transform, ImageTransform):
                raise TypeError(
                    f"chains must be made of this package's transforms, got {type(transform).__name__}: put others "
                    "before or after the mixture"
                )
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be a finite number above 0, got {alpha}")
        moves_pixels = any(transform.moves_pixels for chain in listed for transform in chain)
        super().__init__(moves_pixels=moves_pixels, generator=generator, return_parameters=return_parameters)
        self.alpha = alpha
        self.chains = listed
        self._members = nn.ModuleList(transform for chain in listed for transform in chain)

    def rows(self, images: Images, generator: torch.Generator | None) -> Rows:
        numbers = np.random.default_rng(int(draw_seeds(1, generator=generator)))
        kept = numbers.beta(self.alpha, self.alpha, (len(images), 1))
        weights = numbers.dirichlet([self.alpha] * len(self.chains), len(images))
        columns = [torch.from_numpy(values).to(images) for values in (kept, weights)]
        for chain in self.chains:
            columns += [transform.rows(images, generator).to(images) for transform in chain]
        return torch.cat(columns, 1)

    def move(self, target: Any, rows: Rows) -> Any:
        raise ValueError(
            f"sample holds {type(target).__name__}, which would have to move with the pixels, but a mixture contains "
            "each pixel at several places: leave it out, or mix only chains that move no pixels"
        )

    def change(self, images: Images, rows: Rows) -> Images:
        count = len(self.chains)
        kept, weights, rest = rows.split([1, count, rows.shape[1] - 1 - count], 1)
        mixed = kept[:, :, None, None] * images
        for weight, chain in zip(weights.unbind(1), self.chains, strict=True):
            made = images
            for transform in chain:
                # The number of columns is found by a draw.
                width = transform.rows(images[:1], torch.Generator().manual_seed(0)).shape[1]
                made = transform.change(made, rest[:, :width]).clamp(0, 1)
                rest = rest[:, width:]
            mixed = mixed + ((1 - kept[:, 0]) * weight)[:, None, None, None] * made
        return mixed.to(images)
