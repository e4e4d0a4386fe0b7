"""HDF5 files that are written row by row, survive a kill, and are moved into place when they are complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np

from augment.store.hdf5_layout import Array

SYNC_SECONDS = 1.0
Record = dict[str, Any]


class Partial:
    """The folder ``NAME.partial`` beside the target: the unfinished file, offsets of its tables, and a journal.

    Tables that are written by rows are allocated first, at fixed offsets, so that rows are written without HDF5. Values
    reach the disk before their record in the journal. The index is written last, after the parts of the file between
    the tables were restored: so any number of kills, at any point, lead to the same bytes.

    As a context manager it keeps unfinished work for later; only if the work itself cannot be written it is removed.

    Args:
        target: The file to write. tables: Shape and type of each table that is written by rows. fingerprint: Text that
        identifies the work, of which `records` are in the journal; a folder left by other work is
            emptied.

    Raises:
        OSError: If the folder is not writable, the disk too small, or another process writes the same file.
    """

    def __init__(self, target: Path, tables: Mapping[str, tuple[tuple[int, ...], str]], fingerprint: str) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.partial")
        self._file, self._places = self.folder / "tables.h5", self.folder / "places.json"
        self._tables = dict(tables)
        with self._explained():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(exist_ok=True)
            self._lock = _locked(self.folder / "lock")
            try:
                about = self._continued(fingerprint) or self._started(fingerprint)
            except BaseException:
                shutil.rmtree(self.folder, ignore_errors=True)
                self._lock.close()
                raise
        self._offsets: dict[str, int] = about["offsets"]
        self._gaps: list[list[Any]] = about["gaps"]
        self._length: int = about["length"]
        self.records = _whole_records(self.folder / "journal.jsonl")
        self._data = os.open(self._file, os.O_RDWR)
        self._journal: TextIO = (self.folder / "journal.jsonl").open("a")
        self._pending: list[Record] = []
        self._synced = time.monotonic()
        self._open = True

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of writing with the target's name and size."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # HDF5 raises either for a full disk
            codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            full = getattr(error, "errno", None) in codes or any(f"errno = {code}" in str(error) for code in codes)
            if not full and not isinstance(error, OSError):
                raise
            size = sum(_bytes(*table) for table in self._tables.values())
            reason = f"the disk is full, {size:,} bytes are needed" if full else str(error)
            raise OSError(f"could not write {self.target}: {reason}. Nothing half-written was left") from error

    @contextmanager
    def _removed_if_unwritable(self) -> Iterator[None]:
        try:
            with self._explained():
                yield
        except OSError:
            self.discard()
            raise

    def _continued(self, fingerprint: str) -> dict[str, Any] | None:
        """Offsets of the tables in a file left by the same work; None if there is none."""
        try:
            about: dict[str, Any] = json.loads(self._places.read_text())
            same = about["fingerprint"] == fingerprint and self._file.stat().st_size >= about["length"]
        except (OSError, ValueError, KeyError):
            return None
        return about if same else None

    def _started(self, fingerprint: str) -> dict[str, Any]:
        """Allocates a new file; returns the offsets of its tables."""
        for old in self.folder.iterdir():
            if old.name != "lock":
                old.unlink()
        with h5py.File(self._file, "w") as file:
            offsets = {name: _allocated(file, name, *table) for name, table in self._tables.items()}
        length = self._file.stat().st_size
        with self._file.open("rb+") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, length)  # a full disk is found now, not after hours
            gaps, end = [], 0
            spans = sorted((offsets[name], _bytes(*self._tables[name])) for name in offsets)
            for offset, size in [*spans, (length, 0)]:
                stream.seek(end)
                gaps.append([end, stream.read(offset - end).hex()])
                end = offset + size
            os.fsync(stream.fileno())
        about = {"fingerprint": fingerprint, "offsets": offsets, "gaps": gaps, "length": length}
        temporary = self._places.with_suffix(".new")
        with temporary.open("w") as text:
            json.dump(about, text)
            text.flush()
            os.fsync(text.fileno())
        temporary.replace(self._places)
        return about

    def write(self, name: str, rows: Array, values: Array) -> None:
        """Writes rows of a table; `rows` are in ascending order."""
        shape, dtype = self._tables[name]
        assert values.dtype == dtype
        assert values.shape == (len(rows), *shape[1:])
        size = _bytes(shape[1:], dtype)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                part = np.ascontiguousarray(values[run[0] : run[-1] + 1]).reshape(-1).view(np.uint8)
                with self._removed_if_unwritable():
                    _write_all(self._data, part.data, self._offsets[name] + int(rows[run[0]]) * size)

    def record(self, record: Record) -> None:
        """Adds a record of finished work to the journal; its values must have been written."""
        self._pending.append(record)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            with self._removed_if_unwritable():
                self._sync()

    def _sync(self) -> None:
        """Writes all records to the disk, values before the journal."""
        os.fsync(self._data)
        for record in self._pending:
            self._journal.write(json.dumps(record) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._pending.clear()
        self._synced = time.monotonic()

    def finish(
        self,
        attributes: Mapping[str, Mapping[str, Any]],
        index: Mapping[str, Array] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Adds attributes by table (``"/"`` is the file), whole tables and links by new name, and moves the file."""
        with self._removed_if_unwritable():
            self._sync()
            for offset, content in self._gaps:
                _write_all(self._data, memoryview(bytes.fromhex(content)), offset)
            os.ftruncate(self._data, self._length)
            with h5py.File(self._file, "r+") as file:
                for name, other in (links or {}).items():
                    file[name] = file[other]
                for name, values in (index or {}).items():
                    file.create_dataset(name, data=values, track_times=False)
                for table, own in attributes.items():
                    for name, value in own.items():
                        file[table].attrs[name] = value
            os.fsync(self._data)
            self._file.replace(self.target)
            folder = os.open(self.target.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        self.discard()

    def close(self) -> None:
        """Keeps unfinished work for later."""
        if self._open:
            with suppress(OSError, ValueError):
                self._sync()
            self._release()

    def discard(self) -> None:
        """Removes the work."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._release()

    def _release(self) -> None:
        self._open = False
        with suppress(OSError):
            self._journal.close()
        os.close(self._data)
        self._lock.close()


def _allocated(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """Creates a contiguous table that is allocated at once; returns its offset in the file."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    kind, space = h5py.h5t.py_create(np.dtype(dtype), logical=True), h5py.h5s.create_simple(shape)
    return int(h5py.h5d.create(file.id, name.encode(), kind, space, settings).get_offset())


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _write_all(descriptor: int, values: memoryview, offset: int) -> None:
    while len(values):
        written = os.pwrite(descriptor, values, offset)  # at most 2 GiB a call
        values, offset = values[written:], offset + written


def _whole_records(path: Path) -> list[Record]:
    """Records of a journal; an incomplete last line is removed from the file."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _locked(path: Path) -> TextIO:
    """A file that is locked by this process as long as it is open."""
    stream = path.open("a")
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # a system without such locks
        return stream
    except BlockingIOError as error:
        stream.close()
        raise OSError(f"another process is writing to {path.parent}: wait for it, or give another path") from error
    return stream
