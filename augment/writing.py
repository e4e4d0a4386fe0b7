"""Making pairs of images and writing them to HDF5, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch

from augment.change import Change
from augment.pairs import FORMAT, VERSION
from augment.source import Source
from augment.transform import ChangeTransform


def write_pairs(
    path: Path | str,
    sources: Mapping[str, Source],
    change: Change,
    *,
    draws: int | Mapping[str, int],
    seed: int,
    dtype: Literal["uint8", "float32"] = "uint8",
    device: torch.device | str = "cpu",
    batch: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Changes every source image several times and stores the pairs.

    The parameters of a split are drawn first, from the seed and the split's name, then applied batch by batch on
    the device. The same arguments give the same bytes.

    Args:
        path: The file to write; an existing one is replaced.
        sources: Split name to clean images; a split's images must not be another's.
        change: What changes them.
        draws: Changed versions of each image; a number, or one per split.
        seed: Seed of the parameters, 0 or more.
        dtype: How images are stored: 8 bits (rounded) or floating point.
        device: Where changes are computed.
        batch: Images changed at a time.
        progress: Called with pairs done and pairs in all.

    Returns:
        The path.

    Raises:
        ValueError: If there is no split, a number is below 1, shapes differ, splits share images, or a change
            leaves [0, 1].
        OSError: If the disk is full or the folder not writable; nothing half-written is left.
    """
    path = Path(path)
    counts = {name: draws if isinstance(draws, int) else draws.get(name, 0) for name in sources}
    if not sources or min(counts.values()) < 1 or batch < 1 or seed < 0:
        raise ValueError(
            "sources must hold at least one split, draws and batch be at least 1 and seed 0 or more, got "
            f"draws={counts}, batch={batch}, seed={seed}"
        )
    if dtype not in ("uint8", "float32"):
        raise ValueError(f'dtype must be "uint8" or "float32", got {dtype!r}')
    _check_disjoint(sources)
    total = sum(len(source) * counts[name] for name, source in sources.items())
    images = sum(len(source) for source in sources.values())
    shape = tuple(next(iter(sources.values())).batch([0])[0].shape[1:])
    size = (total + images) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        os.truncate(temporary, 0)
        with h5py.File(temporary, "w", track_order=False) as file:
            _fill(file, sources, change, counts, (total, images, shape), seed, dtype, device, batch, progress)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # HDF5 tells of a full disk by either
        codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        full = getattr(error, "errno", None) in codes or any(f"errno = {code}" in str(error) for code in codes)
        if not full and not isinstance(error, OSError):
            raise
        reason = f"the disk is full, {size:,} bytes are needed" if full else str(error)
        raise OSError(f"could not write {path}: {reason}. Nothing half-written was left") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def _fill(
    file: h5py.File,
    sources: Mapping[str, Source],
    change: Change,
    counts: Mapping[str, int],
    sizes: tuple[int, int, tuple[int, ...]],
    seed: int,
    dtype: str,
    device: torch.device | str,
    batch: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    total, images, shape = sizes
    changed = _create(file, "changed", (total, *shape), dtype)
    clean = _create(file, "clean", (images, *shape), dtype)
    arrays: dict[str, list[Any]] = {"source": [], "label": [], "origin": [], "split": [], "parameters": []}
    pair = image = 0
    for code, (name, source) in enumerate(sources.items()):
        draws, count = counts[name], len(source)
        generator = torch.Generator().manual_seed(_seed(seed, name))
        parameters = change.draw(count * draws, generator=generator)
        step = max(1, batch // draws)
        for start in range(0, count, step):
            rows = range(start, min(start + step, count))
            x, labels = source.batch(list(rows))
            if tuple(x.shape[1:]) != shape:
                raise ValueError(f"sources must give images of one shape, got {tuple(x.shape[1:])} after {shape}")
            mine = parameters[start * draws : (rows[-1] + 1) * draws]
            made = change.apply(x.to(device).repeat_interleave(draws, 0), mine.to(device))
            changed[pair : pair + len(made)] = _stored(made, dtype)
            clean[image : image + len(x)] = _stored(x, dtype)
            arrays["source"].append(np.arange(image, image + len(x), dtype=np.int64).repeat(draws))
            arrays["label"].append(labels.numpy().astype(np.int64))
            pair, image = pair + len(made), image + len(x)
            if progress is not None:
                progress(pair, total)
        arrays["origin"].append(np.asarray(source.indices, dtype=np.int64))
        arrays["split"].append(np.full(count, code, dtype=np.uint8))
        arrays["parameters"].append(parameters.numpy().astype(np.float32))
    for name, parts in arrays.items():
        _create(file, name, None, None, np.concatenate(parts))
    file["parameters"].attrs["names"] = list(change.parameter_names)
    first = next(iter(sources.values()))
    about = {
        "source": _described(first, without="split"),
        "change": _described(change),
        "draws": dict(counts),
    }
    versions = {package: metadata.version(package) for package in ("torch", "torchvision", "h5py")}
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    file.attrs["splits"], file.attrs["seed"] = list(sources), seed
    file.attrs["provenance"] = json.dumps({**about, "versions": versions}, sort_keys=True)


def _create(file: h5py.File, name: str, shape: Any, dtype: Any, data: Any = None) -> h5py.Dataset:
    return file.create_dataset(name, shape, dtype, data, track_times=False)


def _stored(images: torch.Tensor, dtype: str) -> Any:
    low, high = torch.aminmax(images)
    if not (float(low) >= -1e-6 and float(high) <= 1 + 1e-6):  # NaN fails too
        raise ValueError(f"change must give images in [0, 1], got {float(low):.4g} to {float(high):.4g}")
    images = images.clamp(0, 1).cpu()
    return (images * 255).round().byte().numpy() if dtype == "uint8" else images.float().numpy()


def _seed(seed: int, split: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{split}".encode()).digest()[:8], "big") >> 1


def _check_disjoint(sources: Mapping[str, Source]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for split, source in sources.items():
        if not len(source):
            raise ValueError(f"sources must hold images in every split, got none in {split!r}")
        for index in source.indices.tolist():
            other = seen.setdefault((source.name, index), split)
            if other != split:
                raise ValueError(f"sources must not share images, got {source.name} {index} in {other!r} and {split!r}")


def _described(thing: object, without: str = "") -> dict[str, Any]:
    about: dict[str, Any] = {"class": type(thing).__name__}
    if isinstance(thing, ChangeTransform):
        about |= thing.settings
    elif is_dataclass(thing):
        about |= {f.name: getattr(thing, f.name) for f in fields(thing) if f.init and f.name != without}
    return about
