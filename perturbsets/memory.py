"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h


def keep_freed_memory() -> bool:
    """Lets glibc keep large freed blocks instead of giving them back to the kernel.

    Every large tensor is otherwise mapped, faulted in page by page and unmapped again, which on CPUs costs more than
    the arithmetic of a small network. For programs, not for libraries: it holds for the whole process. Source:
    mallopt(3), Linux manual page.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 100 << 20))
    taken = [bool(mallopt(name, value)) for name, value in settings]
    return all(taken)
