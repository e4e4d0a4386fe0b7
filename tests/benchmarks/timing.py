"""What every benchmark needs: interleaved timing, ratios, a description of the machine, a file of figures."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


def compare(work: Mapping[str, Callable[[], object]], repeats: int = 9, warmup: int = 1) -> dict[str, list[float]]:
    """Times callables in turn, round after round, so that a slow spell of the machine hits all of them.

    Args:
        work: What to time, by name.
        repeats: Rounds that count.
        warmup: Rounds before them that do not.

    Returns:
        Seconds of each round, by name; entries of one round were taken one after the other.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for turn in range(-warmup, repeats):
        for name in names if turn % 2 else names[::-1]:  # nobody is always first
            gc.collect()
            _wait()
            began = time.perf_counter()
            work[name]()
            _wait()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the ratio within each round."""
    each = [one / other for one, other in zip(above, below, strict=True)]
    low, _, high = quantiles(each, n=4) if len(each) > 1 else each * 3
    return {"median": median(each), "quartile_1": low, "quartile_3": high}


def describe() -> dict[str, Any]:
    """Hardware, versions and commit."""
    return {
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "accelerate", "numpy")},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain")),
    }


def write(path: Path | None, settings: Mapping[str, Any], figures: Any) -> None:
    """Writes settings and figures with the description of the machine, if a file is wanted."""
    if path is not None:
        table = {"about": describe(), "settings": dict(settings), "figures": figures}
        path.write_text(json.dumps(table, indent=2) + "\n")


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
