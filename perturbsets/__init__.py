"""Perturbation sets: defined, checked, attacked, trained against and reported.

An adversary searches a perturbation set for the point where an objective is highest, by some ascent.
"""

import lazy_loader

from perturbsets.neighbours import check_neighbours

check_neighbours()

__version__ = "0.1.0"

# Names load when first used (they are listed in __init__.pyi), so that `perturbsets --help` need not wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
