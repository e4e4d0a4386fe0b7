"""Sections that are settings of one class, read off its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model, model_validator

from perturbsets.recipe.signature import arguments
from perturbsets.recipe.trying import try_constructor


class Settings(BaseModel):
    """Settings of one class."""

    model_config = ConfigDict(extra="forbid")

    def make(self, **given: Any) -> Any:
        """Builds the object; ``given`` overrides."""
        return self.constructor()(**{**dict(self), **given})

    @classmethod
    def constructor(cls) -> Callable[..., Any]:
        """What is built."""
        raise TypeError("a section is made by `section(constructor)`")


@cache
def section(constructor: Callable[..., Any]) -> type[Settings]:
    """The pydantic model of a class's constructor, without its ``seed``, which comes from the recipe.

    Args:
        constructor: The class.

    Returns:
        A model whose ``make`` builds the object, and which refuses what the constructor refuses.
    """
    fields: dict[str, Any] = {name: field for name, field in arguments(constructor).items() if name != "seed"}

    def tried(self: Settings) -> Settings:
        try_constructor(constructor, dict(self))
        return self

    name = getattr(constructor, "__name__", "Section")
    made: type[Settings] = create_model(
        name,
        __base__=Settings,
        __doc__=(inspect.getdoc(constructor) or name).split("\n")[0],
        __validators__={"tried": model_validator(mode="after")(tried)},  # type: ignore[dict-item]
        **fields,
    )
    made.constructor = classmethod(lambda cls: constructor)  # type: ignore[method-assign, assignment]
    return made
