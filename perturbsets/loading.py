"""Loading a perturbation set by its path alone."""

from __future__ import annotations

from pathlib import Path

from perturbsets.sets.latent import LatentBall


def load(path: Path | str) -> LatentBall:
    """Loads a learned set: weights, radius and bank.

    Args:
        path: A folder written by ``LatentBall.save``, or a run folder, which keeps its set in ``set/``.

    Returns:
        The set, ready to be bound to images.

    Raises:
        FileNotFoundError: If the folder or a file in it is missing.
        ValueError: If a file is corrupted or foreign.
    """
    folder = Path(path)
    inside = folder / "set"
    return LatentBall.load(inside if (inside / "set.json").is_file() else folder)
