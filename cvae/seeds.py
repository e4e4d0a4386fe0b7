"""One seed split into many, by name."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one use of randomness, independent of all others.

    Args:
        seed: The seed of the whole run.
        names: What the randomness is for, for example ``("fit", 17)``.

    Returns:
        A number in [0, 2^63), the same on every machine and in every process.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
