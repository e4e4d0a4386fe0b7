"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError | SafetensorError, path: Path) -> Exception:
    """What a failed write means; safetensors tells the system's error number in words."""
    if isinstance(error, OSError):
        number = error.errno
    else:
        told = re.search(r"os error (\d+)", str(error))
        number = int(told[1]) if told else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk (or the quota, or the file-size limit) is full; free some room and run again"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "the folder is not writable; choose another one or change its permissions"
    else:
        return error
    return OSError(number, f"could not write {path}: {reason}. Nothing half-written was left", str(path))


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
    except (OSError, SafetensorError) as error:
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
    except (OSError, SafetensorError) as error:
        raise _explained(error, path) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_files(folder: Path | str) -> Iterator[Path]:
    """Gives a temporary folder whose files move into a folder when the block ends well, each whole.

    Other files of the folder stay as they are, which is what sets this apart from :func:`atomic_folder`.

    Args:
        folder: Where the files shall stand. It is made if needed.

    Yields:
        An empty folder to write into.

    Raises:
        OSError: As for :func:`atomic_file`.
    """
    folder = Path(folder)
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing.", dir=folder))
        yield temporary
        written = list(temporary.iterdir())
        for file in written:
            _sync(file)
        for file in written:
            file.replace(folder / file.name)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        raise _explained(error, folder) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def append(path: Path, text: str) -> None:
    """Appends text to a file, whole or not at all.

    Raises:
        OSError: As for :func:`atomic_file`.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a") as stream:
            stream.write(text)
    except OSError as error:
        with suppress(OSError):
            os.truncate(path, size)
        raise _explained(error, path) from error
