"""How a generator's change is added to x so that images stay in [0, 1] and every pixel keeps its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvae.likelihood import HALF_GREY_LEVEL

Link = Callable[[Tensor, Tensor], Tensor]


def add(images: Tensor, change: Tensor) -> Tensor:
    r"""Adds a change in pixel values; the value is cut to [0, 1], the gradient is not.

    .. math:: g = \operatorname{clip}_{[0,1]}(x + r), \qquad \partial g / \partial r := 1

    Of the squared error to an image in [0, 1] this gradient never pushes a pixel further out: a pixel that was cut
    is pulled back exactly when the target asks for it. A change of 0 gives the images themselves.

    Args:
        images: Images in [0, 1].
        change: What is added, of the same shape.

    Returns:
        Images in [0, 1].

    Example:
        >>> r = torch.tensor([-0.5, 0.25]).requires_grad_()
        >>> g = add(torch.tensor([0.0, 0.5]), r)
        >>> g.tolist(), torch.autograd.grad(g.sum(), r)[0].tolist()
        ([0.0, 0.75], [1.0, 1.0])
    """
    raw = images + change
    kept = raw.clamp(0, 1)
    excess = raw - kept
    return kept + (excess - excess.detach())  # the bracket is exactly 0: it carries the gradient alone


def add_logits(images: Tensor, change: Tensor) -> Tensor:
    r"""Adds a change on the scale of logits.

    .. math:: g = \operatorname{sigmoid}\big(\operatorname{logit} x + r\big)

    The link of a Bernoulli likelihood: the gradient of the cross-entropy to :math:`\tilde x` is then
    :math:`g - \tilde x`. Images come no nearer to 0 and 1 than half a grey level, so a change of 0 gives the images
    up to that.

    Args:
        images: Images in [0, 1].
        change: What is added, of the same shape.

    Returns:
        Images in (0, 1).
    """
    return torch.sigmoid(images.logit(HALF_GREY_LEVEL) + change)
