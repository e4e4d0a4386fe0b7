"""Parts of a recipe: ``{build: NAME, argument: value, ...}``.

The fields of a part are read off the signature of its class: arguments whose type YAML can express are fields, and a
run fills in the others (models, tensors, other objects). So a recipe is checked against the code itself.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from perturbsets.recipe.registry import ALLOWED, FILLED, arguments, holds, resolve


class Part(BaseModel):
    """A class, by name, with its arguments."""

    model_config = ConfigDict(extra="forbid")

    build: str

    def make(self, **given: Any) -> Any:
        """Builds it; what the run gives fills in where the recipe is silent, if the constructor takes it."""
        return resolve(self.build)(**self.arguments(given))

    def described(self) -> str:
        """Its name with the settings that the recipe gives."""
        settings = self.model_dump(exclude={"build"}, exclude_unset=True)
        return f"{self.build.rsplit('.', 1)[1]}({', '.join(f'{key}={value}' for key, value in settings.items())})"

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments: from the recipe, or else from what is given; a part inside is built."""
        takes = inspect.signature(resolve(self.build)).parameters
        made = {name: value for name, value in given.items() if name in takes}
        for name, value in self:
            if name in takes and value is not None and not (isinstance(value, Part) and name in given):
                made[name] = value.make() if isinstance(value, Part) else value
        return made


def part(role: str, *, of: Mapping[type, Mapping[str, Any]] | None = None, **special: Mapping[str, Any]) -> Any:
    """The type of a recipe's field that holds a part: the union of all parts of a role, told apart by ``build``.

    Args:
        role: Key of :data:`ALLOWED`.
        of: Fields, as ``name=(type, default)``, by which a recipe gives an argument of some class:
            ``{PerturbationSet: {"set": ...}}``.
        special: The fields of one constructor instead: ``TRADES={...}``.
    """
    return any_of(*(_part(name, role, of or {}, special) for name in ALLOWED[role]))


def any_of(*kinds: Any) -> Any:
    """The union of part types, told apart by ``build``."""
    return kinds[0] if len(kinds) == 1 else Annotated[reduce(or_, kinds), Field(discriminator="build")]


def _part(
    name: str, role: str, of: Mapping[type, Mapping[str, Any]], special: Mapping[str, Mapping[str, Any]]
) -> type[Part]:
    short = name.rpartition(".")[2]
    if not of and short not in special:
        return _simple_part(name, role)
    extra = special.get(short)
    if extra is None:
        given = (fields for kind, fields in of.items() if holds(resolve(name), kind))
        extra = reduce(or_, map(dict, given), {})
    return _part_type(name, role, extra)


@cache
def _simple_part(name: str, role: str) -> type[Part]:
    """One type for each part that is the same in every role."""
    return _part_type(name, role, {})


def _part_type(name: str, role: str, extra: Mapping[str, Any]) -> type[Part]:
    constructor = resolve(name)
    taken = arguments(constructor)
    own = {
        argument: (_plain(annotation), default)
        for argument, (annotation, default) in taken.items()
        if argument not in FILLED.get(role, ()) and _expressible(annotation)
    }
    complete = all(taken[argument][1] is not ... for argument in taken.keys() - own.keys())
    trial = getattr(constructor, "check_arguments", constructor)  # where building takes long

    def tried(self: Part) -> Part:
        if complete:
            try_constructor(trial, self.arguments({}))
        return self

    return create_model(  # type: ignore[call-overload, no-any-return]
        name.replace(".", "_"),
        __base__=Part,
        __doc__=(inspect.getdoc(constructor) or name).split("\n")[0],
        __validators__={"tried": model_validator(mode="after")(tried)},  # type: ignore[dict-item]
        **{"build": (Literal[name], ...), **own, **extra},
    )


def _expressible(annotation: Any) -> bool:
    """Whether YAML can express a value of a type; of a union, one of its types."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_expressible(member) for member in inner if member is not types.NoneType)
    if origin in (tuple, list, Sequence, Mapping):
        return all(member is ... or _expressible(member) for member in inner)
    return origin is Literal or annotation in (bool, int, float, str, types.NoneType)


def _plain(annotation: Any) -> Any:
    """The members of a union that YAML can express; a sequence as a tuple."""
    if get_origin(annotation) in (Union, types.UnionType):
        return reduce(or_, (_plain(member) for member in get_args(annotation) if _expressible(member)))
    if get_origin(annotation) is Sequence:
        return tuple[get_args(annotation)[0], ...]  # type: ignore[misc]
    return annotation


class Settings(BaseModel):
    """A section of the settings of one class, made by :func:`section`."""

    model_config = ConfigDict(extra="forbid")
    constructor: ClassVar[Callable[..., Any]]

    def make(self, **given: Any) -> Any:
        """Builds the object; ``given`` overrides."""
        return type(self).constructor(**{**dict(self), **given})


@cache
def section(constructor: Callable[..., Any]) -> type[Settings]:
    """The settings that a class takes, which refuse what it refuses; its ``seed`` comes from the recipe."""

    def tried(self: Settings) -> Settings:
        try_constructor(constructor, dict(self))
        return self

    name = constructor.__name__
    made: type[Settings] = create_model(  # type: ignore[call-overload]
        name,
        __base__=Settings,
        __doc__=(inspect.getdoc(constructor) or name).split("\n")[0],
        __validators__={"tried": model_validator(mode="after")(tried)},  # type: ignore[dict-item]
        **{argument: field for argument, field in arguments(constructor).items() if argument != "seed"},
    )
    made.constructor = constructor
    return made


def try_constructor(constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Builds an object and discards it.

    A constructor may stop at the first argument it refuses. So that argument, without which the error would be another
    one, is left to its default, until the others are accepted or none can be left out.

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
    """Why a constructor refuses its arguments; a missing one is reported elsewhere."""
    try:
        constructor(**arguments)
    except ValueError as error:
        return str(error)
    except TypeError:
        pass
    return None


def _without(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != name}
