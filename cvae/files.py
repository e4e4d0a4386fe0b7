"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk (or the quota, or the file-size limit) is full; free some room and run again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "the folder is not writable; choose another one or change its permissions"
    else:
        return error
    return OSError(error.errno, f"could not write {path}: {reason}. Nothing half-written was left", str(path))


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` and moves it into place when the block ends well.

    Args:
        path: Where the file shall stand. Its folder is made if needed.

    Yields:
        A path in the same folder to write to.

    Raises:
        OSError: If the disk is full or the folder not writable; the message says which. The temporary
            file is removed after any exception, and a file that was there before is kept.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Gives a temporary folder beside ``path`` and moves it into place when the block ends well.

    A folder that stood there before is replaced as a whole, and kept if the block fails.

    Args:
        path: Where the folder shall stand.

    Yields:
        An empty folder to write into.

    Raises:
        OSError: As for :func:`atomic_file`.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):
            _sync(file)
        retired = temporary.with_name(f"{temporary.name}.old")
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
        _sync(path.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
