"""Success at k: are all labels that are on pushed out of the first k?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from perturbsets.intervals import Interval, share_interval
from perturbsets.label_states import check_label_logits, label_states
from perturbsets.objectives.classification import check_finite


def success_at_k(logits: Float[Tensor, "B L"], states: Tensor, k: int, groups: Tensor | None = None) -> Interval:
    """Share of the images none of whose labels that are on is among the k of the largest logits.

    A label that is equal to the k-th largest counts as among them: an attacker has to push it below. Images without a
    label that is on have nothing to push out, and do not count.

    Args:
        logits: Logits of the changed images, one for each label.
        states: True states ``[B, L]``: 1 on, 0 off, NaN unknown. All labels take part in the order, unknown ones too.
        k: How many labels are first, from 1 to L - 1.
        groups: Number of each image's independent unit; by default every image is its own.

    Returns:
        The share, with its interval at 95 %.

    Raises:
        ValueError: If ``k`` is outside its range, no label of any image is on, states are others, or logits are not
            finite or in another number.

    Example:
        >>> success_at_k(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), torch.tensor([[1, 0, 0], [1, 0, 0]]), 1).mean
        0.5
    """
    states = label_states(states, len(logits)).to(logits.device)
    check_label_logits(logits, states)
    check_finite(logits)
    labels = logits.shape[1]
    if not 1 <= k < labels:
        raise ValueError(
            f"k must be at least 1 and below the number of labels, {labels}, got {k}: all labels are among the "
            f"{labels} first"
        )
    on = states == 1
    some = on.any(1)
    if not bool(some.any()):
        raise ValueError("states must have a label that is on in one image at least, got none: nothing is pushed out")
    highest = logits.masked_fill(~on, -torch.inf).amax(1, keepdim=True)
    above = (logits > highest).sum(1)
    return share_interval((above >= k) & some, groups, over=some)
