"""What a result was made with: versions, hardware, and the commit of a checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("perturbsets", "torch", "torchvision", "numpy", "h5py", "accelerate", "safetensors")


def provenance() -> dict[str, Any]:
    """Versions of Python and packages, the commit if this package runs from a checkout, and the hardware."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"versions": versions, "commit": _commit(), "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}


def _commit() -> str | None:
    here, answers = Path(__file__), list[str]()
    for question in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):  # a checkout of this file?
        try:
            asked = subprocess.run(["git", *question], cwd=here.parent, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        answers.append(asked.stdout.strip())
    return answers[1] if all(answers) else None
