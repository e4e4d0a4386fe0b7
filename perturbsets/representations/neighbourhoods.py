"""Neighbourhoods of guides: natural representations to compare an adversary's with, near ones and far ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Rows
from perturbsets.representations.bank import Bank
from perturbsets.representations.neighbours import Metric, nearest_neighbours


class Neighbourhood(NamedTuple):
    """Rows of a bank around each guide; ``bank.features(layer, rows)`` gives their features in the same shape.

    Attributes:
        reference: What models of the neighbourhood are fitted to, nearest first.
        close: Near ones that those models have not seen, nearest first.
        far: Further ones, nearest first.
    """

    reference: Int64[Tensor, "B R"]
    close: Int64[Tensor, "B K"]
    far: Int64[Tensor, "B F"]


def neighbourhoods(
    guides: Float[Tensor, "B D"],
    bank: Bank,
    layer: str,
    *,
    count: int = 20,
    reference: int = 15,
    far: tuple[int, int] = (41, 50),
    metric: Metric = "cosine",
    exclude: Rows | None = None,
    generator: torch.Generator | None = None,
) -> Neighbourhood:
    r"""Splits the nearest neighbours of each guide at random into a reference and a rest, and takes some further on.

    .. math:: N_{\text{ref}} \cup N_c = \{n_1(g), \dots, n_{20}(g)\}, \qquad N_f = \{n_{41}(g), \dots, n_{50}(g)\}

    Args:
        guides: Features of the guides.
        bank: The natural images, of all classes.
        layer: Layer of the bank from which the guides' features come.
        count: Number of nearest neighbours that are split.
        reference: How many of these are drawn for the reference, from 1 to ``count - 1``.
        far: First and last of the far ones, counted from 1; beyond `count`.
        metric: Distance by which neighbours are near.
        exclude: A row of the bank per guide that does not count, its own; -1 for none.
        generator: Of the draw.

    Returns:
        The rows.

    Raises:
        ValueError: If numbers do not fit together, the bank has too few rows (fewer than 50 beside the guide), or a
            guide is all zero where the cosine is asked for.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> from perturbsets import MemoryBank
        >>> bank = MemoryBank({"fc": torch.rand(60, 8)}, torch.zeros(60).long())
        >>> around = neighbourhoods(torch.rand(2, 8), bank, "fc")
        >>> [tuple(rows.shape) for rows in around], tuple(bank.features("fc", around.far).shape)
        ([(2, 15), (2, 5), (2, 10)], (2, 10, 8))
    """
    if not 1 <= reference < count:
        raise ValueError(f"reference must be from 1 to count - 1 = {count - 1}, got {reference}")
    if not count < far[0] <= far[1]:
        raise ValueError(f"far must give two numbers in order, both beyond count = {count}, got {far}")
    if len(bank) < far[1]:
        raise ValueError(
            f"bank must hold at least {far[1]} images for neighbours {far[0]} to {far[1]}, got {len(bank)}: "
            "write a bank of more images, or give smaller count, reference and far"
        )
    rows = nearest_neighbours(guides, bank.blocks(layer), far[1], metric=metric, exclude=exclude).rows
    device = "cpu" if generator is None else generator.device
    order = torch.rand(len(guides), count, generator=generator, device=device).argsort(1).to(rows.device)
    drawn, rest = (part.sort(1).values for part in (order[:, :reference], order[:, reference:]))
    return Neighbourhood(rows.gather(1, drawn), rows.gather(1, rest), rows[:, far[0] - 1 : far[1]].contiguous())
