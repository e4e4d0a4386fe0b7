"""Attacks under the names of their papers: each is a set, an objective and an ascent with the published settings.

Each function returns an attack to be called as ``(model, images, labels, *, generator=None)`` on images in [0, 1].
A radius or step size is one number, or one per image.

| functions | what they search | what the call returns |
|---|---|---|
| `fgsm`, `r_fgsm`, `bim`, `pgd`, `mi_fgsm`, `apgd` | the worst image in a pixel ball, by gradients | `AttackResult` |
| `square`, `random_search`, `spatial` | the worst image, without gradients | `AttackResult` |
| `latent_pgd`, `feature_adversary` | the worst image of a learned set; another's features | `AttackResult` |
| `apgd_t` | the worst image over several target classes | `WorstResult` |
| `carlini_wagner`, `deepfool`, `fmn`, `lbfgs` | the smallest change that succeeds | `SmallestRadius` |
| `autoattack` | robust accuracy under an ensemble of attacks | `Robustness` |

An attack of other parts is an :class:`~perturbsets.Adversary` of any set, objective and ascent.
"""

from typing import NoReturn

from perturbsets.attacks.ensembles import apgd_t, autoattack
from perturbsets.attacks.gradient import apgd, bim, fgsm, mi_fgsm, pgd, r_fgsm
from perturbsets.attacks.representation import feature_adversary, latent_pgd
from perturbsets.attacks.search import random_search, spatial, square
from perturbsets.attacks.smallest_change import carlini_wagner, deepfool, fmn, lbfgs
from perturbsets.guesses import nearest as _nearest


def __getattr__(name: str) -> NoReturn:
    names = [each for each in globals() if each.islower() and callable(globals()[each]) and each[0] != "_"]
    near = _nearest(name, names)
    advice = f"did you mean {near}" if near else f"there are {', '.join(names)}"
    raise AttributeError(f"perturbsets.attacks has no {name}: {advice}")
