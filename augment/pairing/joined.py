"""Independent groups of pairs: pairs that share a file belong together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def joined(pairs: Sequence[tuple[Hashable, Hashable]]) -> list[int]:
    """Numbers the groups that hang together by shared files, also through others.

    Args:
        pairs: The two files of each pair.

    Returns:
        Per pair the number of its group, which is the first of its pairs.

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
