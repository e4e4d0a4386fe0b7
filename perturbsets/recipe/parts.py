"""Parts of a recipe: ``{build: NAME, argument: value, ...}``.

A part's fields are read off the signature of what it builds, so that a recipe is checked against the code
itself. Names come from an allow-list; nothing else is ever imported.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from perturbsets._types import OneOrEach

# The arguments of a constructor, with their types and defaults.


def arguments(constructor: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Name to type and default (``...`` where there is none), as pydantic takes fields.

    Args:
        constructor: A dataclass or another class; inherited fields count.

    Returns:
        The arguments in order.
    """
    hinted = constructor if is_dataclass(constructor) else constructor.__init__  # type: ignore[misc]
    hints = get_type_hints(hinted, localns={"Iterable": Iterable})  # torch imports it for type checkers alone
    return {
        name: (hints[name], _default(constructor, parameter))
        for name, parameter in inspect.signature(constructor).parameters.items()
    }


def _default(constructor: Any, parameter: inspect.Parameter) -> Any:
    """The value of an argument that is not given, also where a dataclass makes it anew each time."""
    if parameter.default is inspect.Parameter.empty:
        return ...
    made = fields(constructor) if is_dataclass(constructor) else ()
    factory = next((field.default_factory for field in made if field.name == parameter.name), MISSING)
    return parameter.default if factory is MISSING else factory()


# Trying whether a constructor takes its arguments, and saying all that it does not take.


def try_constructor(constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Builds an object and throws it away.

    A constructor may stop at the first argument it refuses. So the guilty argument, without which it would say
    something else, is left to its default, until the others are accepted or none can be left out.

    Args:
        constructor: A class.
        arguments: Its arguments.

    Raises:
        ValueError: With every reason.
    """
    rest, reasons = dict(arguments), list[str]()
    while (reason := _refusal(constructor, rest)) is not None:
        reasons.append(reason)
        guilty = [name for name in rest if _refusal(constructor, _without(rest, name)) != reason]
        if not guilty:
            break
        rest = _without(rest, guilty[0])
    if reasons:
        raise ValueError("; ".join(reasons))


def _refusal(constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Why a constructor refuses its arguments; a missing one is no news here."""
    try:
        constructor(**arguments)
    except ValueError as error:
        return str(error)
    except TypeError:
        return None
    return None


def _without(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != name}


ALLOWED: dict[str, tuple[str, ...]] = {
    "source": (
        "augment.Digits",
        "augment.Patches",
        "augment.MNIST",
        "augment.FashionMNIST",
        "augment.CIFAR10",
        "augment.ImageFolder",
        "augment.SceneMaterials",
        "augment.SegmentDigits",
        "augment.LabelManifest",
    ),
    "multi-label source": ("augment.SegmentDigits", "augment.LabelManifest"),
    "collected pairs": ("augment.PairedFolders", "augment.Manifest", "augment.Scenes"),
    "change": ("augment.SpatialChange", "augment.Corruption", "augment.RandomCorruption"),
    "model": ("cvae.SpatialCVAE", "cvae.ConvCVAE", "cvae.ResidualCVAE", "cvae.UNetCVAE"),
    "set": (
        "perturbsets.LatentBall",
        "perturbsets.PixelBall",
        "perturbsets.SpatialBox",
        "perturbsets.DrawnChanges",
        "perturbsets.ComposedSet",
    ),
    "features": ("perturbsets.criteria.RandomFeatures", "perturbsets.criteria.InceptionFeatures"),
    "objective": (
        "perturbsets.CrossEntropy",
        "perturbsets.Margin",
        "perturbsets.DLR",
        "perturbsets.KLDivergence",
        "perturbsets.SegmentationCrossEntropy",
    ),
    "multi-label objective": (
        "perturbsets.multi_label.BinaryCrossEntropy",
        "perturbsets.multi_label.LabelMargin",
        "perturbsets.multi_label.LabelRanking",
        "perturbsets.multi_label.TopK",
    ),
    "ascent": (
        "perturbsets.APGD",
        "perturbsets.AcceleratedGradient",
        "perturbsets.GradientAscent",
        "perturbsets.GridSearch",
        "perturbsets.OneStep",
        "perturbsets.ProjectedAdam",
        "perturbsets.ProjectedGradient",
        "perturbsets.ProjectedLBFGS",
        "perturbsets.RandomSearch",
        "perturbsets.Square",
    ),
    "method": (
        "perturbsets.StandardTraining",
        "perturbsets.AugmentedTraining",
        "perturbsets.AdversarialTraining",
        "perturbsets.FastAdversarialTraining",
        "perturbsets.LargerLossTraining",
        "perturbsets.TRADES",
        "perturbsets.MART",
        "perturbsets.NoiseAugmentedTraining",
        "perturbsets.FeatureAdversarialTraining",
    ),
    "dual method": ("perturbsets.multi_label.DualS1", "perturbsets.multi_label.DualS2"),
    "method that replays": ("perturbsets.FreeAdversarialTraining",),
    "method that aligns gradients": ("perturbsets.GradientAlignment",),
    "method that moves weights": ("perturbsets.AdversarialWeightPerturbation",),
    "schedule": (
        "torch.optim.lr_scheduler.OneCycleLR",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "torch.optim.lr_scheduler.ExponentialLR",
        "torch.optim.lr_scheduler.MultiStepLR",
        "torch.optim.lr_scheduler.StepLR",
    ),
    "classifier": ("perturbsets.SmallConvNet", "perturbsets.SmallUNet", "perturbsets.Published"),
}
"""What a recipe may build, by role."""

_SHAPE = frozenset({"channels", "height", "width"})
_TRANSFORM = frozenset({"generator", "return_parameters"})
_OPTIMIZER = frozenset({"optimizer", "last_epoch"})
_HELP = frozenset({"auxiliary_adversary", "auxiliary", "rules"})

GIVEN: dict[str, frozenset[str]] = {
    "augment.Digits": frozenset({"split"}),
    "augment.Patches": frozenset({"split"}),
    "augment.MNIST": frozenset({"split"}),
    "augment.FashionMNIST": frozenset({"split"}),
    "augment.CIFAR10": frozenset({"split"}),
    "augment.ImageFolder": frozenset({"split"}),
    "augment.SceneMaterials": frozenset({"split"}),
    "augment.SegmentDigits": frozenset({"split"}),
    "augment.LabelManifest": frozenset({"split"}),
    "augment.SpatialChange": _TRANSFORM | {"mask_fill"},
    "augment.Corruption": _TRANSFORM,
    "augment.RandomCorruption": _TRANSFORM,
    "cvae.SpatialCVAE": _SHAPE,
    "cvae.ConvCVAE": _SHAPE,
    "cvae.ResidualCVAE": _SHAPE,
    "cvae.UNetCVAE": _SHAPE,
    "perturbsets.LatentBall": frozenset({"model", "radius", "bank", "learned_from"}),
    "perturbsets.SpatialBox": frozenset({"change"}),
    "perturbsets.DrawnChanges": frozenset({"change"}),
    "perturbsets.ComposedSet": frozenset({"parts"}),
    "perturbsets.AugmentedTraining": frozenset({"perturbations"}),
    "perturbsets.NoiseAugmentedTraining": frozenset({"perturbations"}),
    "perturbsets.AdversarialTraining": frozenset({"adversary"}),
    "perturbsets.LargerLossTraining": frozenset({"adversary"}),
    "perturbsets.TRADES": frozenset({"adversary"}),
    "perturbsets.MART": frozenset({"adversary"}),
    "perturbsets.FeatureAdversarialTraining": frozenset({"adversary"}),
    "perturbsets.multi_label.DualS1": _HELP,
    "perturbsets.multi_label.DualS2": _HELP | {"adversary"},
    "perturbsets.FastAdversarialTraining": frozenset({"perturbations"}),
    "perturbsets.FreeAdversarialTraining": frozenset({"perturbations"}),
    "perturbsets.GradientAlignment": frozenset({"method", "perturbations"}),
    "perturbsets.AdversarialWeightPerturbation": frozenset({"method"}),
    "torch.optim.lr_scheduler.OneCycleLR": _OPTIMIZER | {"epochs", "steps_per_epoch"},
    "torch.optim.lr_scheduler.CosineAnnealingLR": _OPTIMIZER,
    "torch.optim.lr_scheduler.ExponentialLR": _OPTIMIZER,
    "torch.optim.lr_scheduler.MultiStepLR": _OPTIMIZER,
    "torch.optim.lr_scheduler.StepLR": _OPTIMIZER,
    "perturbsets.SmallConvNet": _SHAPE | {"classes"},
    "perturbsets.SmallUNet": _SHAPE | {"classes"},
    "perturbsets.models.DualConvNet": _SHAPE | {"classes", "labels"},
    "perturbsets.Published": frozenset({"channels", "classes"}),
}
"""Arguments that the run fills in: they are no fields of a recipe."""

EACH = get_args(OneOrEach)[1:]  # of a setting, a number for each image
PLAIN = (bool, int, float, str, type(None))


class Part(BaseModel):
    """Something to build, by name, with its arguments."""

    model_config = ConfigDict(extra="forbid")

    build: str

    def make(self, **given: Any) -> Any:
        """Builds it.

        Args:
            given: Arguments that the run fills in where the recipe says nothing; those that the constructor does not
                take are left out.

        Returns:
            The object.
        """
        return resolve(self.build)(**self.arguments(given))

    def described(self) -> str:
        """Its name with the settings that the recipe gives."""
        settings = self.model_dump(exclude={"build"}, exclude_unset=True)
        return f"{self.build.rsplit('.', 1)[1]}({', '.join(f'{key}={value}' for key, value in settings.items())})"

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the constructor takes of the recipe's words; of what is given, for parts and where it says nothing."""
        takes = inspect.signature(resolve(self.build)).parameters
        own = {name: getattr(self, name) for name in type(self).model_fields}
        said = {name: value for name, value in own.items() if value is not None and not isinstance(value, Part)}
        return {name: value for name, value in {**given, **said}.items() if name in takes}


def resolve(name: str) -> Callable[..., Any]:
    """The class of an allowed name."""
    module, attribute = name.rsplit(".", 1)
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def part(role: str, **extra: Any) -> Any:
    """The type of a recipe's field that holds a part.

    Args:
        role: Key of :data:`ALLOWED`.
        extra: Fields beside the constructor's, as ``name=(type, default)``, for names of one constructor:
            ``{"perturbsets.AugmentedTraining": {...}}``.

    Returns:
        A type for pydantic: the union of all parts allowed in that role, told apart by ``build``.
    """
    kinds = [_part_type(name, extra.get(name.rsplit(".", 1)[1], {})) for name in ALLOWED[role]]
    if len(kinds) == 1:
        return kinds[0]
    return Annotated[reduce(or_, kinds), Field(discriminator="build")]


def _part_type(name: str, extra: dict[str, Any]) -> type[Part]:
    constructor = resolve(name)
    fields: dict[str, Any] = {"build": (Literal[name], ...)}
    taken, given = arguments(constructor), GIVEN.get(name, frozenset())
    for argument, (annotation, default) in taken.items():
        if argument not in given:
            fields[argument] = (_plain(annotation), default)
    fields |= extra
    complete = all(taken[argument][1] is not ... for argument in given)
    trial = getattr(constructor, "check_arguments", constructor)  # what takes long to build says beforehand

    def tried(self: Part) -> Part:
        if complete:
            try_constructor(trial, self.arguments({}))
        return self

    documentation = (inspect.getdoc(constructor) or name).split("\n")[0]
    return create_model(  # type: ignore[call-overload, no-any-return, dict-item]
        name.replace(".", "_"),
        __base__=Part,
        __doc__=documentation,
        __validators__={"tried": model_validator(mode="after")(tried)},  # type: ignore[dict-item]
        **fields,
    )


def _plain(annotation: Any) -> Any:
    """The part of an annotation that YAML can say: tensors, and a number for each image, are left out of unions."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = get_args(annotation)
        if set(EACH) <= set(members):
            members = tuple(member for member in members if member not in EACH)
        kept = [_plain(member) for member in members if _sayable(member)]
        return reduce(or_, kept)
    if get_origin(annotation) is Sequence:
        return tuple[get_args(annotation)[0], ...]  # type: ignore[misc]
    return annotation


def _sayable(annotation: Any) -> bool:
    return annotation in PLAIN or get_origin(annotation) in (Literal, tuple, list, Sequence, Mapping)
