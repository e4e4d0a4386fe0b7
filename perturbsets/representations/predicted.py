"""A stand-in for the guide of adversaries that were made without one."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Labels, Rows
from perturbsets.representations.bank import Bank
from perturbsets.representations.in_class import neighbours_in_class


def nearest_in_predicted_class(
    adversary: Float[Tensor, "B D"],
    predictions: Rows,
    bank: Bank,
    layer: str,
    *,
    exclude: Int64[Tensor, " _"] | None = None,
) -> Labels:
    r"""The natural image nearest to each adversary among those of the class that the network takes it for.

    .. math:: n_1(\alpha) = \arg\min_{x \,:\, y(x) = \hat y(\alpha)} \|\phi(\alpha) - \phi(x)\|_2

    Adversaries that aim at a label have no guide: their ranks and tangents are taken at this image.

    Args:
        adversary: Features :math:`\phi(\alpha)`, a row per image.
        predictions: Class :math:`\hat y(\alpha)` that the network gives each adversary.
        bank: The natural images x and their labels y.
        layer: Layer of the bank from which the adversaries' features come.
        exclude: A row of the bank per adversary that does not count, such as its source's; -1 for none.

    Returns:
        One row of the bank per adversary.

    Raises:
        ValueError: If the bank has no image of a predicted class.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016.

    Example:
        >>> import torch
        >>> from perturbsets import MemoryBank
        >>> bank = MemoryBank({"fc": torch.tensor([[0.0], [1.0], [2.0]])}, torch.tensor([5, 3, 5]))
        >>> nearest_in_predicted_class(torch.tensor([[1.1]]), torch.tensor([5]), bank, "fc").tolist()
        [2]
    """
    return neighbours_in_class(adversary, predictions, bank, layer, 1, exclude=exclude).rows[:, 0]
