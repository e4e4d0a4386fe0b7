"""What the library finds on a machine: versions, devices, threads and optional parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import torch

from perturbsets.provenance import provenance

PART = re.compile(r"([\w.-]+)[^;]*; *extra == [\"'](\w+)[\"']")


def findings() -> dict[str, Any]:
    """Versions and hardware, as :func:`perturbsets.provenance.provenance` gives them, devices, threads, parts."""
    devices = ["cpu", *(f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {**provenance(), "devices": devices, "threads": torch.get_num_threads(), "optional": dict(_optional())}


def _optional() -> Iterator[tuple[str, str]]:
    """The packages that the extras of the distribution name, those for its development apart."""
    parts = filter(None, map(PART.match, metadata.requires("perturbsets") or ()))
    for package, extra in (part.groups() for part in parts if part[2] not in ("test", "benchmarks")):
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, f'not installed: pip install "perturbsets[{extra}]"'


def lines() -> list[str]:
    """The findings, one a line."""
    found = findings()
    return [
        *(f"{package} {version}" for package, version in found["versions"].items()),
        f"commit {found['commit'] or 'unknown: not a checkout'}",
        f"hardware {found['hardware']}, {found['threads']} threads of torch",
        f"devices {', '.join(found['devices'])}",
        *(f"optional {package} {state}" for package, state in found["optional"].items()),
    ]
