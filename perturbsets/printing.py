"""Settings and results in one line: tensors by shape and range, never their numbers; and ``==`` that has an answer."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rich.table import Table

ROOM = 200  # characters of a line
WORD = 60  # characters of a text, or of the line of an object of another library
MOST_COLUMNS = 6  # of attacks in 80 characters; more are put in rows
MOST = 4  # numbers or entries that are written out


class Printed:
    """Base of dataclasses that may hold tensors, networks or collections.

    Its ``repr`` is one line of at most 200 characters, without the fields that have their default. Two are equal where
    all fields are: tensors in shape, type, device and every number, networks where they are the same object.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for name in ("__repr__", "__eq__", "__hash__"):  # what the body of a class has, a dataclass does not replace
            if name not in cls.__dict__:
                setattr(cls, name, getattr(cls, name))

    def __repr__(self) -> str:
        return one_line(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not is_dataclass(self):
            return NotImplemented
        return all(same(getattr(self, name), getattr(other, name)) for name in _compared(self))

    def __hash__(self) -> int:
        if not is_dataclass(self):
            return object.__hash__(self)
        if not type(self).__dataclass_params__.frozen:
            raise TypeError(f"unhashable type: {type(self).__name__!r}")
        return hash((type(self), *(_hashable(getattr(self, name)) for name in _compared(self))))


class Result(Printed, ABC):
    """Base of results with a ``summary``: as a table for the console and for notebooks.

    A result whose ``sentence`` says it all is that sentence, in full where it is printed.
    """

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The result as plain values."""

    def __repr__(self) -> str:
        sentence = getattr(self, "sentence", None)
        return one_line(self) if sentence is None else _cut(sentence, ROOM)

    def __str__(self) -> str:
        return str(getattr(self, "sentence", None) or repr(self))

    def table(self) -> Table:
        """The figures as a table, for ``rich.print``; in a notebook the result shows as this table."""
        from rich.table import Table

        table = Table("figure", "value")
        for name, value in _leaves(self.summary()):
            table.add_row(name, value)
        return table

    def _repr_html_(self) -> str:
        table = self.table()
        head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
        rows = zip(*(column.cells for column in table.columns), strict=True)
        cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def one_line(thing: Any) -> str:
    """A dataclass, or any object by its attributes, as one line; what is deep inside gives way where room is short."""
    for depth in (3, 2, 1):
        line = _line(thing, depth)
        if len(line) <= ROOM:
            return line
    return _cut(line[:-1], ROOM - 1) + ")"


def crossed(corner: str, cells: Mapping[tuple[str, str], str]) -> Table:
    """Classifiers in rows and attacks in columns, or the other way round where there are many attacks."""
    from rich.table import Column, Table

    rows, columns = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    if len(columns) > MOST_COLUMNS:
        rows, columns, cells = columns, rows, {(column, row): cell for (row, column), cell in cells.items()}
    table = Table(Column(corner, no_wrap=True), *(Column(name, overflow="fold") for name in columns))
    for row in rows:
        table.add_row(row, *(cells[row, column] for column in columns))
    return table


def percent(share: float) -> str:
    """A share in percent, with one digit.

    Example:
        >>> percent(0.2667)
        '26.7 %'
    """
    return f"{100 * share:.1f} %"


def percent_interval(interval: tuple[float, float | None, float | None]) -> str:
    """A share in percent with the ends of its interval, if it has one.

    Example:
        >>> percent_interval((0.2667, 0.161, 0.397))
        '26.7 % [16.1, 39.7]'
    """
    mean, low, high = interval
    return percent(mean) + ("" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors and arrays by their numbers."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
        return alike and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Tensor | np.ndarray) or isinstance(other, Tensor | np.ndarray):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _compared(thing: Any) -> list[str]:
    return [field.name for field in fields(thing) if field.compare]


def _hashable(value: Any) -> Any:
    """The same for equal values; a tensor or array counts by its shape alone."""
    if isinstance(value, Tensor | np.ndarray):
        return tuple(value.shape)
    return tuple(map(_hashable, value)) if isinstance(value, tuple) else value


def _line(thing: Any, depth: int) -> str:
    shown = [field.name for field in fields(thing) if _is_shown(thing, field)] if is_dataclass(thing) else vars(thing)
    words = [f"{name}={_words(getattr(thing, name), depth)}" for name in shown if not name.startswith("_")]
    return f"{type(thing).__name__}({', '.join(words)})"


def _is_shown(thing: Any, field: Field[Any]) -> bool:
    """Whether a field has another value than its default."""
    value = getattr(thing, field.name)
    if field.default is not MISSING:
        return field.repr and not same(value, field.default)
    return field.repr and (field.default_factory is MISSING or not same(value, field.default_factory()))


def _words(value: Any, depth: int) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return _numbers(torch.as_tensor(value.detach() if isinstance(value, Tensor) else np.array(value)))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Mapping):
        if depth < 1 or len(value) > MOST:
            return f"{{{len(value)} entries}}"
        return f"{{{', '.join(f'{_words(key, 0)}: {_words(each, depth - 1)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        if value and (depth < 1 or len(value) > MOST):
            return f"[{len(value)} entries]"
        opened, closed = "[]" if isinstance(value, list) else "()"
        return f"{opened}{', '.join(_words(each, depth - 1) for each in value)}{closed}"
    return _object(value, depth)


def _object(value: Any, depth: int) -> str:
    kind: Any = type(value)
    if isinstance(value, nn.Module):
        return kind.__name__
    if isinstance(value, Printed) or is_dataclass(value):
        own = isinstance(value, Printed) and kind.__repr__ != Printed.__repr__
        return f"{kind.__name__}(…)" if depth < 1 else repr(value) if own else _line(value, depth - 1)
    if hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return kind.__name__ if kind.__repr__ == object.__repr__ else _cut(" ".join(repr(value).split()), WORD)


def _numbers(tensor: Tensor) -> str:
    """A tensor by its shape and range; a few numbers are written out, flags counted."""
    if tensor.ndim < 2 and 0 < tensor.numel() <= MOST and tensor.device.type != "meta":
        given = tensor.tolist()
        return _words(given, 1)
    shape = "×".join(map(str, tensor.shape)) or "one number"
    if not tensor.numel() or tensor.is_complex() or tensor.device.type == "meta":
        return f"<{shape}>"
    if tensor.dtype == torch.bool:
        return f"<{shape}, {int(tensor.sum())} true>"
    finite = tensor[tensor.isfinite()]
    broken = tensor.numel() - finite.numel()
    ends = (float(end) for end in torch.aminmax(finite)) if finite.numel() else ()
    words = [shape, " to ".join(f"{end:.4g}" for end in ends), f"{broken} not finite" if broken else ""]
    return f"<{', '.join(filter(None, words))}>"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _leaves(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of all values of a nested mapping; a figure with its interval is one."""
    for key, value in content.items():
        name = f"{before} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping) and value.keys() == {"mean", "low", "high"}:
            mean, low, high = value.values()
            between = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
            yield name, ("none" if mean is None else f"{mean:.4g}") + between
        elif isinstance(value, Mapping):
            yield from _leaves(value, name)
        else:
            yield name, value if isinstance(value, str) else _words(value, 1)
