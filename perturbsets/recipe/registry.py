"""The classes that a recipe may build, and what a run fills in of their arguments.

Both are read off the public classes and their signatures. Names are looked up in a table of these classes, so that
nothing a recipe names is ever imported.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from torch.optim import lr_scheduler

import perturbsets
from cvae import CVAE, Pretrained
from perturbsets.ascents import Ascent
from perturbsets.multi_label import AuxiliaryTraining, MultiLabelObjective
from perturbsets.objectives import Objective
from perturbsets.sets import PerturbationSet
from perturbsets.training import Method, OneUpdate

LISTED = {
    "features": ("perturbsets.criteria.InceptionFeatures", "perturbsets.criteria.RandomFeatures"),
    "schedule": tuple(
        f"torch.optim.lr_scheduler.{name}"
        for name in ("CosineAnnealingLR", "ExponentialLR", "MultiStepLR", "OneCycleLR", "StepLR")
    ),
}
"""Parts of roles without a base class, or of another library."""

NO_PARTS = {
    "augment.AlbumentationsChange": "holds a pipeline of another library",
    "augment.TorchvisionChange": "holds a pipeline of another library",
    "augment.ChangedPairs": "is made of the sections source and change",
    "perturbsets.ApproximationError": "compares with images, where sections give labels",
    "perturbsets.FeatureDistance": "compares with images, where sections give labels",
    "perturbsets.LinearFeatureDistance": "compares with images, where sections give labels",
    "perturbsets.FunctionObjective": "holds functions",
    "perturbsets.knowledge.RulePenalized": "is made by the section labels.detector",
    "perturbsets.models.DualConvNet": "is made for dual methods, of the section classifier",
    "perturbsets.multi_label.MultiLabelTraining": "is made by the section auxiliary",
}
"""Public classes of a role that are no parts, and why."""

_SHAPE = {"channels", "height", "width"}
FILLED: dict[str, set[str]] = {
    "source": {"split"},
    "change": {"generator", "return_parameters", "mask_fill"},
    "model": _SHAPE,
    "classifier": _SHAPE | {"classes"},
    "schedule": {"optimizer", "last_epoch", "epochs", "steps_per_epoch"},
}
"""Arguments that a run fills in although YAML could express them, by role."""


def arguments(constructor: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """The arguments of a constructor: name to type and default (``...`` where there is none), as pydantic takes fields.

    Inherited fields of a dataclass count, ``**`` arguments do not.
    """
    hinted = constructor if is_dataclass(constructor) else constructor.__init__  # type: ignore[misc]
    hints = get_type_hints(hinted, localns={"Iterable": Iterable})  # torch imports it for type checkers alone
    return {
        name: (hints.get(name, Any), _default(constructor, parameter))
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def _default(constructor: Any, parameter: inspect.Parameter) -> Any:
    """The default of an argument, also where a dataclass makes it anew each time."""
    if parameter.default is inspect.Parameter.empty:
        return ...
    made = fields(constructor) if is_dataclass(constructor) else ()
    factory = next((field.default_factory for field in made if field.name == parameter.name), MISSING)
    return parameter.default if factory is MISSING else factory()


# The table of parts: public classes by the name that a recipe gives them, and by role.


def _public_classes() -> dict[str, type]:
    """Public classes of this toolkit; one that several packages export has its shortest name."""
    found: dict[str, type] = {}
    inside = [module.name for module in pkgutil.iter_modules(perturbsets.__path__) if module.ispkg]
    specialised = [f"perturbsets.{name}" for name in sorted({*inside} - {"recipe", "report", "runs"})]
    for package in ("augment", "cvae", "perturbsets", *specialised):
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", list(vars(module))):
            public = getattr(module, name)
            ours = isinstance(public, type) and public.__module__.startswith(package.partition(".")[0] + ".")
            if ours and not name.startswith("_") and public not in found.values():
                found[f"{package}.{name}"] = public
    return found


def _mentions(annotation: Any, kind: type) -> bool:
    """Whether an annotation is a class or one of its subclasses, or a union or a collection of it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, kind)
    return any(_mentions(part, kind) for part in get_args(annotation))


def holds(constructor: Callable[..., Any], inner: type) -> bool:
    """Whether a constructor takes an object of a class, or several."""
    return any(_mentions(annotation, inner) for annotation, _ in arguments(constructor).values())


_ROLES: dict[str, Callable[[type], bool]] = {
    "source": lambda kind: hasattr(kind, "batch") and hasattr(kind, "classes") and "split" in arguments(kind),
    "multi-label source": lambda kind: hasattr(kind, "label_names") and _ROLES["source"](kind),
    "collected pairs": lambda kind: hasattr(kind, "plan") and hasattr(kind, "make"),
    "change": lambda kind: hasattr(kind, "draw") and hasattr(kind, "apply") and hasattr(kind, "parameter_names"),
    "model": lambda kind: issubclass(kind, CVAE),
    "set": lambda kind: issubclass(kind, PerturbationSet),
    "objective": lambda kind: (
        issubclass(kind, Objective) and not (issubclass(kind, MultiLabelObjective) or holds(kind, Objective))
    ),
    "objective of another": lambda kind: issubclass(kind, Objective) and holds(kind, Objective),
    "multi-label objective": lambda kind: issubclass(kind, MultiLabelObjective),
    "ascent": lambda kind: issubclass(kind, Ascent),
    "method": lambda kind: (
        issubclass(kind, OneUpdate) and not (issubclass(kind, AuxiliaryTraining) or holds(kind, OneUpdate))
    ),
    "method of another": lambda kind: issubclass(kind, OneUpdate) and holds(kind, OneUpdate),
    "method that replays": lambda kind: issubclass(kind, Method) and not issubclass(kind, OneUpdate),
    "dual method": lambda kind: issubclass(kind, AuxiliaryTraining),
    "classifier": lambda kind: issubclass(kind, Pretrained) and not issubclass(kind, CVAE),
}


def _abstract(kind: type) -> bool:
    """Whether a class is a protocol or a base class."""
    members = (getattr(kind, name, None) for name in dir(kind))
    bases = kind in (CVAE, Pretrained) or getattr(kind, "_is_protocol", False)
    return bases or any(getattr(member, "__isabstractmethod__", False) for member in members)


_PUBLIC = _public_classes()
ALLOWED: dict[str, tuple[str, ...]] = LISTED | {
    role: tuple(
        name for name, kind in sorted(_PUBLIC.items()) if name not in NO_PARTS and not _abstract(kind) and matches(kind)
    )
    for role, matches in _ROLES.items()
}
"""The names that a recipe may build, by role."""


def resolve(name: str) -> Any:
    """The class of an allowed name."""
    return getattr(lr_scheduler, name.rpartition(".")[2]) if name in LISTED["schedule"] else _PUBLIC[name]
