"""Were pairs held out? A set must not be judged by what it was learned from."""

from __future__ import annotations

from collections.abc import Sequence

from augment import PairStore
from perturbsets.criteria.pairs import Pairs
from perturbsets.sets import PairsUsed, PerturbationSet
from perturbsets.sets.pairs_used import pairs_used

COPIES = 0.01
"""Share of held-out images that may also have been learned from: data sets hold equal images by chance."""


def check_held_out(perturbations: PerturbationSet, pairs: Pairs) -> None:
    """Refuses pairs that a set was learned from.

    Images are compared, not files: pairs made anew, copied, or split otherwise are known again. Pairs that are no
    :class:`augment.PairStore`, and sets that do not know what they were learned from, pass: holding pairs out is then
    up to the caller.

    Args:
        perturbations: The set; all that it is made of counts, however it is wrapped.
        pairs: The pairs to judge it by.

    Raises:
        ValueError: If more than 1 % of their images had a part in learning; the message names the splits of the file
            that had none.
    """
    used = pairs_used(perturbations)
    if not used or not isinstance(pairs, PairStore):
        return
    images = pairs.digests()
    shares: dict[str, float] = {}
    for use in used:  # several sets may have learned from splits of one name
        name = f"{use.purpose} ({', '.join(use.splits)})"
        shares[name] = max(shares.get(name, 0.0), use.share(images))
    if max(shares.values()) <= COPIES:
        return
    told = ", ".join(f"{share:.0%} to its {name}" for name, share in shares.items() if share > COPIES)
    free = [split for split in pairs.splits if _is_free(pairs, split, used)]
    remedy = (
        f"take the split {' or '.join(map(repr, free))}"
        if free
        else "no split is free of them, make pairs of other images"
    )
    raise ValueError(
        f"pairs must be held out, but of the images in {pairs.path} that were given, the set owes {told}: {remedy}"
    )


def _is_free(pairs: PairStore, split: str, used: Sequence[PairsUsed]) -> bool:
    """Whether a split of the same file holds pairs, and none that were learned from."""
    try:
        images = PairStore(pairs.path, split).digests()
    except ValueError:  # it holds no pairs
        return False
    return all(use.share(images) <= COPIES for use in used)
