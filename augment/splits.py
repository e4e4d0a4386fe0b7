"""Splits of groups of images: named by folders or lists, or drawn by a hash of the group's name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePath

SPLITS = ("train", "validation", "test")
SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def drawn_split(group: str, shares: Mapping[str, float], seed: int) -> str:
    r"""The split of a group, drawn by its name alone, so that adding or removing groups does not move others.

    .. math:: u = \text{SHA-256}(\text{seed}/\text{group}) / 2^{256}, \quad
              \text{split} = \min \{ k : u < \textstyle\sum_{j \le k} \text{share}_j \}

    Example:
        >>> drawn_split("kitchen_3", {"train": 0.8, "test": 0.2}, seed=0)
        'train'
    """
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    position = int.from_bytes(digest[:6], "big") / 2**48
    until = 0.0
    for split, share in shares.items():
        until += share
        if position < until:
            return split
    return [split for split, share in shares.items() if share > 0][-1]  # where rounding keeps the sum below 1


def check_shares(shares: Mapping[str, float]) -> None:
    """Checks that shares are 0 or more and sum to 1."""
    if not shares or min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
        raise ValueError(f"shares must be 0 or more and sum to 1, got {dict(shares)}")


def named_splits(paths: Sequence[PurePath]) -> list[str] | None:
    """The splits named by the first folders of relative paths; None if there are no such folders.

    Raises:
        ValueError: If only some files lie in folders of splits.
    """
    named = [path.parts[0] if len(path.parts) > 1 and path.parts[0] in SPLITS else None for path in paths]
    outside = [path for path, name in zip(paths, named, strict=True) if name is None]
    if len(outside) == len(paths):
        return None
    if outside:
        raise ValueError(
            f"either all files or none must lie in folders named {', '.join(SPLITS)}, got {outside[0]} outside of them"
        )
    return [str(name) for name in named]


def assigned_splits(
    named: Sequence[str] | None, groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> list[str]:
    r"""The split of each image: drawn by :func:`drawn_split` if none is named, else as named.

    If only train and test are named, a group of the train part is moved to validation with probability

    .. math:: \text{share}_\text{validation} / (\text{share}_\text{train} + \text{share}_\text{validation}).

    Example:
        >>> assigned_splits(["train", "train", "test"], ["a", "b", "c"], {"train": 0.5, "validation": 0.5}, seed=0)
        ['validation', 'train', 'test']
    """
    if named is None:
        return [drawn_split(group, shares, seed) for group in groups]
    parts = {name: shares.get(name, 0.0) for name in ("train", "validation")}
    if set(named) != {"train", "test"} or min(parts.values()) <= 0:
        return list(named)
    inner = {name: share / sum(parts.values()) for name, share in parts.items()}
    return [
        drawn_split(group, inner, seed) if split == "train" else split
        for split, group in zip(named, groups, strict=True)
    ]


def in_split(split: str, splits: Sequence[str], where: object, things: str = "images") -> list[int]:
    """Numbers of the things in a split; an empty one is refused."""
    if split not in splits:
        raise ValueError(
            f"split must be one that holds {things}, got {split!r}: in {where} there are "
            f"{sorted(set(splits)) or 'none'}"
        )
    return [number for number, name in enumerate(splits) if name == split]


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Different names of splits: train, validation and test first, others in order of appearance."""
    different = list(dict.fromkeys(names))
    return tuple(sorted(different, key=lambda name: SPLITS.index(name) if name in SPLITS else len(SPLITS)))


def joined(pairs: Sequence[tuple[Hashable, Hashable]]) -> list[int]:
    """Connected components of pairs: pairs that share a file, also through other pairs, are one group.

    For each pair the number of its group, which is the first of the group's pairs.

    Example:
        >>> joined([("a", "b"), ("c", "d"), ("b", "e")])
        [0, 1, 0]
    """
    parents = list(range(len(pairs)))

    def root(pair: int) -> int:
        while parents[pair] != pair:
            parents[pair] = parents[parents[pair]]
            pair = parents[pair]
        return pair

    first: dict[Hashable, int] = {}
    for number, files in enumerate(pairs):
        for file in files:
            one, other = sorted((root(first.setdefault(file, number)), root(number)))
            parents[other] = one
    return [root(number) for number in range(len(pairs))]
