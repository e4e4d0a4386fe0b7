from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perturbsets import memory

ROOT = Path(__file__).parents[2]


def test_settings_are_taken_or_refused_without_an_error() -> None:
    # In a process of its own, because the settings hold for the whole process.
    code = "from perturbsets.memory import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() in ("True", "False")
    assert done.stdout.strip() == "True" or not sys.platform.startswith("linux")


class _Library:
    """A C library whose mallopt takes only some settings."""

    def __init__(self, refused: tuple[int, ...]) -> None:
        self.refused, self.asked = refused, [0][:0]

    def mallopt(self, name: int, value: int) -> int:
        self.asked.append(name)
        return int(name not in self.refused)


@pytest.mark.parametrize(("refused", "taken"), [((), True), ((memory.M_TOP_PAD,), False)])
def test_all_settings_are_asked_for(monkeypatch: pytest.MonkeyPatch, refused: tuple[int, ...], taken: bool) -> None:
    library = _Library(refused)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)

    assert memory.keep_freed_memory() is taken
    assert sorted(library.asked) == sorted((memory.M_TRIM_THRESHOLD, memory.M_TOP_PAD, memory.M_MMAP_THRESHOLD))


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def refuse(name: None) -> None:
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    assert memory.keep_freed_memory() is False
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # a library without mallopt
    assert memory.keep_freed_memory() is False


def test_importing_the_library_changes_no_settings() -> None:
    code = """
import perturbsets.memory as memory
memory.keep_freed_memory = lambda: print("called")
import perturbsets, perturbsets.cli
for name in perturbsets.__all__:
    getattr(perturbsets, name)
import perturbsets.runs
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["done"]
