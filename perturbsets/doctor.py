"""What the library finds on a machine: versions, devices, threads and optional parts."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch

from perturbsets.provenance import provenance

OPTIONAL = {
    "albumentations": "augment.albumentations",
    "pytorch-fid": "Inception features of the quality check",
    "scipy": "interpolation and tests",
    "matplotlib": "figures of reports",
    "datasets": "images of the Hugging Face hub",
    "timm": "more networks",
}
"""Packages that single features need, and which."""


def findings() -> dict[str, Any]:
    """Versions and hardware, as :func:`perturbsets.provenance.provenance` gives them, devices, threads, parts."""
    devices = ["cpu", *(f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {**provenance(), "devices": devices, "threads": torch.get_num_threads(), "optional": dict(_optional())}


def _optional() -> list[tuple[str, str]]:
    found = []
    for package, use in OPTIONAL.items():
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            found.append((package, f"not installed; needed for: {use}"))
    return found


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
