"""The example of the README, shortened."""

from __future__ import annotations

import re
from pathlib import Path


def readme_code(root: Path) -> str:
    """All Python of the README as one script, with few steps; it takes `model`, `images` and `labels`."""
    text = (root / "README.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    shorter = {
        "steps=500": "steps=2",
        "NecessarySubset()": "NecessarySubset(steps=1, restarts=1, curve=())",
        "relative=True": "relative=True, steps=1",
        "autoattack(": "autoattack(steps=2, queries=5, ",
        'latent_pgd("digits-rts")': 'latent_pgd("digits-rts", steps=2)',
    }
    for long, short in shorter.items():
        assert long in code
        code = code.replace(long, short)
    return code
