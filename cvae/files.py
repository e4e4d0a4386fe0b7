"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder, made if needed, and moves it to ``path`` if the block succeeds.

    Raises:
        OSError: If the disk is full or the folder is not writable; the message says which. After any exception the
            temporary file is removed and an existing file is kept.
    """
    path = Path(path)
    with _temporary(path, path.parent, folder=False) as temporary:
        yield temporary
        open_as_usual(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yields an empty temporary folder and moves it to ``path`` if the block succeeds; errors as for a file.

    An existing folder is replaced as a whole, or kept if the block fails.
    """
    path = Path(path)
    with _temporary(path, path.parent, folder=True) as temporary:
        yield temporary
        for file in (temporary, *temporary.rglob("*")):
            open_as_usual(file)
            _sync(file)
        retired = temporary.with_name(f"{temporary.name}.old")
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
        _sync(path.parent)
        shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def atomic_files(folder: Path | str) -> Iterator[Path]:
    """Yields an empty temporary folder and moves its files into ``folder`` if the block succeeds, each one whole.

    The folder is made if needed; other files in it stay, unlike with :func:`atomic_folder`. Errors are as for a file.
    """
    folder = Path(folder)
    with _temporary(folder, folder, folder=True) as temporary:
        yield temporary
        written = list(temporary.iterdir())
        for file in written:
            open_as_usual(file)
            _sync(file)
        for file in written:
            file.replace(folder / file.name)
        _sync(folder)


def append(path: Path, text: str) -> None:
    """Appends text to a file, whole or not at all; errors as for :func:`atomic_file`."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a") as stream:
            stream.write(text)
    except OSError as error:
        with suppress(OSError):
            os.truncate(path, size)
        raise _explained(error, path) from error


@contextmanager
def _temporary(path: Path, parent: Path, *, folder: bool) -> Iterator[Path]:
    """A temporary file or folder inside ``parent``, removed at the end; failed writes of ``path`` are explained."""
    temporary: Path | None = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if folder:
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=parent))
        else:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=parent)
            os.close(handle)
            temporary = Path(name)
        yield temporary
    except (OSError, SafetensorError) as error:
        raise _explained(error, path) from error
    finally:
        if folder and temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        elif temporary is not None:
            temporary.unlink(missing_ok=True)


def open_as_usual(path: Path) -> None:
    """Gives a file or folder the permissions of a new one: temporary files and those of safetensors are private."""
    mask = os.umask(0o077)  # there is no other way to ask for it
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def check_readable(file: Path) -> None:
    """Refuses a file that is there but closed to this user, which safetensors and HDF5 call absent or damaged.

    Raises:
        PermissionError: If it cannot be read.
    """
    if file.exists() and not os.access(file, os.R_OK):
        raise PermissionError(errno.EACCES, "it is there but may not be read: its owner has to allow it", str(file))


def read_tensors(file: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        PermissionError: If it may not be read.
        OSError: If it is not there.
        SafetensorError: If it is damaged.
    """
    check_readable(file)
    return dict(safetensors.torch.load_file(file, device=device))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError | SafetensorError, path: Path) -> Exception:
    """The error with its cause and remedy; safetensors gives the system's error number only in its message."""
    if isinstance(error, OSError):
        number = error.errno
    else:
        match = re.search(r"(?:os error|code:) (\d+)", str(error))  # its releases differ
        number = int(match[1]) if match else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk (or the quota, or the file-size limit) is full; free some room and run again"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "the folder is not writable; choose another one or change its permissions"
    else:
        return error
    return OSError(number, f"could not write {path}: {reason}. Nothing half-written was left", str(path))
