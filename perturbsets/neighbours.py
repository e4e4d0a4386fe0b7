"""The packages that this one stands on are its own, and no file of the user's that has the name of one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NEIGHBOURS = ("augment", "cvae")
ROOT = Path(__file__).resolve().parents[1]


def check_neighbours() -> None:
    """Raises an error if Python would import another ``augment`` or ``cvae`` than those installed with this package.

    The folder of the script that runs is searched first, so that an ``augment.py`` there hides the package.

    Raises:
        ImportError: If a file or folder is in the way; the message says which, and what to rename.
    """
    for name in NEIGHBOURS:
        spec, own = find_spec(name), ROOT / name
        places = [] if spec is None else spec.submodule_search_locations or [spec.origin or name]
        for place in map(Path, places):
            if place.exists() and not place.samefile(own):
                raise ImportError(
                    f"{place} is in the way: perturbsets imports its own package {name!r} from {own}, and Python finds "
                    f"yours first. Rename yours, for example to {place.with_stem(f'my_{place.stem}').name}",
                    name=name,
                    path=str(place),
                )
