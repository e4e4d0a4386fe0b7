"""Perturbation sets: defined, checked, attacked, trained against and reported.

An adversary searches a perturbation set for the point where an objective is highest, by some ascent.
"""

from pathlib import Path as _Path

import lazy_loader

from perturbsets.neighbours import check_neighbours

check_neighbours()

__version__ = "0.1.0"

# Names load when first used (they are listed in __init__.pyi), so that `perturbsets --help` need not wait for torch.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    inside = _Path(__file__).parent / name
    if name in __all__ or name.startswith("_") or inside.is_dir() or inside.with_suffix(".py").is_file():
        return _load(name)
    from perturbsets.guesses import exported, nearest

    names = exported(_Path(__file__).parent) | {each: each for each in __all__}
    near = nearest(name, names)
    advice = "help(perturbsets) lists what there is" if near is None else f"did you mean perturbsets.{names[near]}"
    raise AttributeError(f"perturbsets has no {name}: {advice}")
