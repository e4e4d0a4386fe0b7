"""What is built for a package index is whole, and works where there is no checkout."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import perturbsets
from tests.readme_code import readme_code

SHORT = [
    "fit.steps=10",
    "fit.validate_every=5",
    "pairs.train=1",
    "pairs.validation=1",
    "pairs.test=1",
    "check.necessary.steps=2",
    "check.necessary.restarts=1",
    "check.quantile=null",
    "check.sufficient.draws=2",
    "check.theorems.tail_draws=1024",
    "check.overapproximation.steps=2",
    "train.steps=2",
    "evaluate.images=40",
    "evaluate.audit.images=10",
    "evaluate.audit.draws=5",
    "certify=null",
]
PRELUDE = """
from augment import Digits
from perturbsets import SmallConvNet
model, (images, labels) = SmallConvNet().eval(), Digits("test", size=28, digit=16).batch(range(8))
"""


def run(*command: str | Path, folder: Path) -> str:
    """The output of a program that is away from the checkout and from the settings of this process."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_settings_and_citation_agree(root: Path) -> None:
    settings, citation = configparser.ConfigParser(), yaml.safe_load((root / "CITATION.cff").read_text())
    settings.read(root / "setup.cfg")
    metadata = settings["metadata"]

    assert perturbsets.__version__ == citation["version"]
    assert metadata["keywords"].split(", ") == citation["keywords"]
    assert metadata["author"] == citation["authors"][0]["name"]


@pytest.mark.slow
def test_wheel_and_sdist_are_whole_and_work(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("build", reason="needs the extra test")
    tracked = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, text=True).split("\n")
    for name in filter(None, tracked):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / "tree" / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", folder=tmp_path / "tree")
    wheel, sdist = next(tmp_path.glob("dist/*.whl")), next(tmp_path.glob("dist/*.tar.gz"))

    data = {
        file.relative_to(root).as_posix()
        for package in ("augment", "cvae", "perturbsets")
        for file in (root / package).rglob("*")
        if file.suffix in {".yaml", ".json", ".safetensors", ".html", ".css", ".pyi", ".typed"}
        or file.name == "py.typed"
        if "docs" not in file.parts
    }
    recipes = {
        file.relative_to(root).as_posix() for file in (root / "recipes").rglob("*") if file.suffix in {".yaml", ".json"}
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = message_from_bytes(archive.read(next(name for name in inside if name.endswith("/METADATA"))))
    assert data <= inside
    assert recipes <= {name.partition("/share/perturbsets/")[2] for name in inside}
    with tarfile.open(sdist) as archive:
        assert data | recipes | {"README.md", "LICENSE"} <= {name.partition("/")[2] for name in archive.getnames()}
    assert metadata["Keywords"]
    if find_spec("twine") is not None:
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, folder=tmp_path)

    # A bare environment that borrows the packages installed here, but neither the checkout nor what points to it.
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    run(*pip, "--force-reinstall", wheel, folder=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(
        python, "-c", "import perturbsets, augment; print(perturbsets.__file__, augment.__file__)", folder=empty
    )
    assert where.split() == [str(site / name / "__init__.py") for name in ("perturbsets", "augment")]
    (empty / "example.py").write_text(PRELUDE + readme_code(root))
    run(python, "example.py", folder=empty)
    run(python.with_name("perturbsets"), "run", "digits/rts", *SHORT, folder=empty)
    assert (empty / "runs" / "digits-rts" / "report.html").stat().st_size > 0
