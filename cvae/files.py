"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn


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


# Training state in one safetensors file, so that it is whole or absent, and never a pickle.


Tensors = dict[str, Tensor]


@dataclass
class Progress:
    """How far a training run has come.

    Attributes:
        step: Steps done.
        best_score: Lowest validation score so far.
        best: Weights at that score.
    """

    step: int = 0
    best_score: float = float("inf")
    best: Tensors | None = None

    def offer(self, score: float, model: nn.Module) -> None:
        """Keeps the model's weights if they are the best so far."""
        if score < self.best_score or self.best is None:
            self.best_score = score
            self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, settings: str
) -> None:
    """Writes weights, best weights, optimizer state and progress as one file.

    Args:
        file: Where to write.
        model: The model being trained.
        optimizer: Its optimizer.
        progress: Step, best score and best weights.
        settings: Text that a later run must match to continue from this file.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (progress.best or {}).items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}
    about = {"step": progress.step, "best_score": progress.best_score, "settings": settings}
    with atomic_file(file) as temporary:
        safetensors.torch.save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            temporary,
            metadata={"checkpoint": json.dumps(about)},
        )


def load_checkpoint(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: str) -> Progress:
    """Puts a checkpoint back into a model and its optimizer.

    Args:
        file: A file of :func:`save_checkpoint`; a missing one means that training starts afresh.
        model: The model to fill.
        optimizer: The optimizer to fill.
        settings: Must equal the text the checkpoint was saved with.

    Returns:
        The progress made.

    Raises:
        ValueError: If the file is corrupted, or belongs to other settings or another model.
    """
    if not file.exists():
        return Progress()
    try:
        with safetensors.safe_open(file, "pt") as reader:
            about: dict[str, Any] = json.loads((reader.metadata() or {})["checkpoint"])
            step, best_score, former = about["step"], about["best_score"], about["settings"]
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no whole checkpoint ({error}): delete it to start afresh") from error
    if former != settings:
        raise ValueError(
            f"{file} was made with other settings:\n  then {former}\n  now  {settings}\n"
            "Continue with the former settings, choose another folder, or remove this one to begin anew"
        )

    def part(prefix: str) -> Tensors:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    try:
        model.load_state_dict(part("model."))
    except RuntimeError as error:
        raise ValueError(f"{file} holds another model: {error}. Choose another folder") from error
    entries: dict[int, Tensors] = {}
    for name, tensor in part("optimizer.").items():
        index, key = name.split(".", 1)
        entries.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(step, best_score, part("best.") or None)
