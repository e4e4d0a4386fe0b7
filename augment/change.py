"""A change: parameters drawn first, then applied by a pure function."""

from typing import Protocol, runtime_checkable

import torch

from augment._types import Images, Parameters


@runtime_checkable
class Change(Protocol):
    r"""What turns a clean image :math:`x` into a changed one :math:`\tilde x = f(x, p)`.

    Drawing :math:`p` is separate from applying :math:`f`, so any changed image can be made again from its clean
    image and one row of numbers. A :class:`augment.ChangeTransform` is recorded in a pair file with its settings, a
    frozen dataclass with its arguments, any other class by its name and, where it has one of its own, its ``repr``.

    Example:
        >>> from augment import SpatialChange
        >>> isinstance(SpatialChange(), Change)
        True
    """

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the columns that `draw` returns."""

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        """Draws parameters for `count` images."""

    def apply(self, images: Images, parameters: Parameters, /) -> Images:
        """Changes each image by its row of parameters; reads nothing else and draws nothing."""
