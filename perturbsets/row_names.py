"""Names the rows of a batch that an error is about."""

from __future__ import annotations

from torch import Tensor

SHOWN = 8  # row numbers named in an error


def named_rows(flags: Tensor) -> str:
    """Names the rows that a flag is set for, the first few of them: "rows 0, 3 and 9 more"."""
    found = flags.nonzero().flatten().tolist()
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ("row " if len(found) == 1 else "rows ") + ", ".join(map(str, found[:SHOWN])) + more
