"""What the code may import is a contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_imports_run_one_way(root: Path) -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
