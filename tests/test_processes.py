"""Fits that run as programs of their own: killed and continued, and shared between two processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import yaml
from torch.testing import assert_close

PROGRAM = [sys.executable, "-m", "perturbsets"]
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
SMALL: dict[str, Any] = {
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange", "rotation": 30, "scale": [0.9, 1.1], "shift": 0.1},
    "pairs": {"train": 1, "validation": 1, "test": 1},
    "model": {"build": "cvae.SpatialCVAE", "latent": 2, "hidden": 8, "features": 4, "grid": 2},
    "fit": {"steps": 20, "batch": 16, "validate_every": 10},
    "sets": {"pixels": {"build": "perturbsets.PixelBall", "norm": "linf", "radius": 0.1}},
    "classifier": {"build": "perturbsets.SmallConvNet", "hidden": 8},
    "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
    "adversaries": {"step": {"set": "pixels", "ascent": {"build": "perturbsets.OneStep"}}},
}


def write_recipe(output: Path, **fit: Any) -> Path:
    """A recipe beside the run folder that it names."""
    content = {**SMALL, "output": str(output), "fit": {**SMALL["fit"], **fit}}
    recipe = output.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(content))
    return recipe


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def call(*arguments: str | Path) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "fit" / "metrics.jsonl").read_text().splitlines()]


def test_killed_fit_continues_to_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    recipes = {folder: write_recipe(folder, steps=200, validate_every=20) for folder in (whole, killed)}
    call(*PROGRAM, "pairs", recipes[whole])
    shutil.copytree(whole, killed)
    call(*PROGRAM, "fit", recipes[whole])

    checkpoint = killed / "fit" / "checkpoint.safetensors"
    running = subprocess.Popen([*PROGRAM, "fit", recipes[killed]], env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    running.kill()

    assert running.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert checkpoint.exists()
    assert not (killed / "set").exists()
    assert metrics(killed)[-1]["step"] < 200

    call(*PROGRAM, "fit", recipes[killed])
    expected, got = (safetensors.torch.load_file(folder / "set" / "model.safetensors") for folder in (whole, killed))

    assert_close(got, expected, rtol=0, atol=0)
    assert (killed / "fit" / "metrics.jsonl").read_bytes() == (whole / "fit" / "metrics.jsonl").read_bytes()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_two_processes_reach_the_losses_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    recipes = {folder: write_recipe(folder) for folder in (one, two)}
    call(*PROGRAM, "pairs", recipes[one])
    shutil.copytree(one, two)
    port = str(free_port())

    call(*PROGRAM, "fit", recipes[one])
    call(*LAUNCHER, "--master_port", port, "-m", "perturbsets", "fit", recipes[two])
    processes = [json.loads((run / "run.json").read_text())["stages"]["fit"]["processes"] for run in (one, two)]
    alone, shared = metrics(one), metrics(two)

    assert processes == [1, 2]
    assert [record["step"] for record in shared] == [record["step"] for record in alone]
    for ours, theirs in zip(shared, alone, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_every_method_shares_gradients_once_an_optimizer_step(root: Path) -> None:
    port = str(free_port())
    program = root / "tests" / "perturbsets" / "shared_training.py"  # beside no folder named as one of the packages
    told = json.loads(call(*LAUNCHER, "--master_port", port, program).splitlines()[-1])

    assert told["processes"] == 2
    assert len(told["methods"]) >= 30
    for report in told["methods"]:
        name = report["method"]
        assert report["shared"] == report["steps"] * report["buckets"], name  # the attack shares none
        assert report["same_weights"], name
        assert report["same_statistics"], name
        if "robust" in report:
            assert report["robust_together"] == report["robust_apart"] == max(report["robust"]), name
