"""A model that draws, averaged over its draws."""

from __future__ import annotations

from torch import Tensor, nn

from perturbsets._types import Samples
from perturbsets.model_call import logits


class Averaged(nn.Module):
    r"""The mean output of a model that draws at random, which is what an attack on such a model must climb.

    .. math:: \bar f(x) = \tfrac1n \sum_{i=1}^n f(x, \xi_i)

    Args:
        model: The model; its draws are those of its own passes.
        draws: Number of passes n for each output, at least 1.

    Raises:
        ValueError: If there are no draws.

    References:
        Athalye et al., *Synthesizing robust adversarial examples*, 2018, sec. 2.1 (expectation over transformation).

    Example:
        >>> import torch
        >>> Averaged(nn.Flatten(), draws=3)(torch.ones(2, 1, 2)).shape
        torch.Size([2, 2])
    """

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.model, self.draws = model, draws

    def forward(self, images: Samples) -> Tensor:
        """The mean over draws, all of them in one batch."""
        outputs = logits(self.model, images.repeat(self.draws, *[1] * (images.ndim - 1)))
        return outputs.unflatten(0, (self.draws, len(images))).mean(0)
