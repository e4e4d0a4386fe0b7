"""Sparsity: how many units of a layer are active, and are they the same ones?"""

from __future__ import annotations

from jaxtyping import Bool, Float, Float64
from torch import Tensor

from augment.double_precision import in_double
from perturbsets._types import Flags
from perturbsets.representations.feature_checks import check_features
from perturbsets.row_names import named_rows


def sparsity_change(
    adversary: Float[Tensor, "B D"], source: Float[Tensor, "B D"], *, threshold: float = 0.0
) -> Float64[Tensor, " B"]:
    r"""By how much the share of active units differs between adversaries and their sources.

    .. math:: \Delta S = \frac1D \big( |\{ i : a_i > t \}| - |\{ i : s_i > t \}| \big)

    Args:
        adversary: Features a of adversaries.
        source: Features s of their sources.
        threshold: Value t above which a unit is active; 0 is that of a ReLU, before it or behind it.

    Returns:
        Differences within -1 and 1; above 0 where the adversary has more active units.

    Raises:
        ValueError: If a row has no active unit in either, features do not fit together, or are not finite.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.

    Example:
        >>> import torch
        >>> sparsity_change(torch.tensor([[1.0, 2, 0, 3]]), torch.tensor([[1.0, 0, 0, 0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    first, second = _active(threshold, adversary=adversary, source=source)
    return in_double(first).mean(1) - in_double(second).mean(1)


def active_overlap(
    first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], *, threshold: float = 0.0
) -> Float64[Tensor, " B"]:
    r"""Of the units that are active in one of two representations, the share active in both.

    .. math:: \frac{I}{U} = \frac{|A \cap B|}{|A \cup B|}, \qquad A = \{ i : a_i > t \},\ B = \{ i : b_i > t \}

    For two independent representations with shares a and b of active units it is about ab / (a + b - ab), and so half
    active ones overlap by a third with nothing in common: compare it with that of natural images.

    Args:
        first: Features of one image each, say adversaries.
        second: Features of another, their sources or guides.
        threshold: Value t above which a unit is active.

    Returns:
        Shares from 0, none in common, to 1, the same units.

    Raises:
        ValueError: If a row has no active unit in either, features do not fit together, or are not finite.

    References:
        Sabour, Cao, Faghri and Fleet, *Adversarial manipulation of deep representations*, 2016, sec. 4.

    Example:
        >>> import torch
        >>> active_overlap(torch.tensor([[1.0, 2, 0, 3]]), torch.tensor([[5.0, 0, 1, 1]]))  # 2 of 4
        tensor([0.5000], dtype=torch.float64)
    """
    one, other = _active(threshold, first=first, second=second)
    return in_double((one & other).sum(1)) / in_double((one | other).sum(1))


def _active(threshold: float, **named: Tensor) -> tuple[Bool[Tensor, "B D"], Bool[Tensor, "B D"]]:
    check_features(**named)
    one, other = (value > threshold for value in named.values())
    dead: Flags = ~(one | other).any(1)
    if bool(dead.any()):
        raise ValueError(
            f"{' or '.join(named)} must have an active unit, above {threshold}, got none in {named_rows(dead)}: the "
            "layer is dead there, or its output ends below 0 (choose the layer before, or lower the threshold)"
        )
    return one, other
