"""A stand-in for a device without float64, such as Apple's MPS: tensors on the CPU that say that they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("mps")
HOME = torch.device("cpu")
ANY_DEVICE = {"cpu", "to", "type_as", "is_tensor", "copy_", "__getitem__", "__setitem__", "__get__", "as_tensor"}
"""Functions that take tensors of several devices."""


class OnDevice(Tensor):
    """A tensor of the device: refuses float64, and to meet tensors of the CPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    def as_subclass(self, cls: type[Tensor]) -> Any:
        """Stays on the device where it becomes a plain tensor."""
        return self if cls is Tensor else super().as_subclass(cls)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        leaves = tree_leaves((args, kwargs))
        if name not in ANY_DEVICE:
            for leaf in leaves:
                if isinstance(leaf, Tensor) and leaf.ndim and not isinstance(leaf, OnDevice | nn.Parameter):
                    raise RuntimeError(f"{name}: expected all tensors on one device, got {DEVICE} and cpu")
        if name == "numpy":
            raise TypeError(f"can't convert a {DEVICE} tensor to numpy: use Tensor.cpu() first")
        finish = _plain if _goes_home(name, args, leaves) else _marked
        with torch._C.DisableTorchFunctionSubclass():
            found = function(*_replaced(args), **_replaced(kwargs))
            return found if isinstance(found, torch.Size) else tree_map(finish, found)


class Factories(TorchFunctionMode):
    """Makes tensors that are asked for on the device."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, OnDevice) for leaf in leaves):  # also where a function passes over subclasses
            return OnDevice.__torch_function__(function, types, args, kwargs)
        if not any(_names(leaf, DEVICE) for leaf in leaves):
            return function(*args, **kwargs)
        return tree_map(_marked, function(*_replaced(args), **_replaced(kwargs)))


@contextmanager
def device_without_double() -> Iterator[Callable[[Tensor], Tensor]]:
    """A block in which the device exists; gives a function that takes tensors there."""
    with Factories():
        yield _marked


def home(tensor: Tensor) -> Tensor:
    """A tensor of any device as one of the CPU."""
    return _plain(tensor)


def _goes_home(name: str, args: Any, leaves: list[Any]) -> bool:
    """Whether the result lies on the CPU."""
    if name in ("to", "type_as") and len(args) > 1 and isinstance(args[1], Tensor):
        return not isinstance(args[1], OnDevice)
    named = [leaf for leaf in leaves if _names(leaf, HOME) or _names(leaf, DEVICE)]
    if named:
        return _names(named[0], HOME)
    return name == "cpu" or (name in ("to", "copy_", "as_tensor") and not isinstance(args[0], OnDevice))


def _names(leaf: Any, device: torch.device) -> bool:
    return isinstance(leaf, torch.device | str) and str(leaf) == str(device)


def _replaced(arguments: Any) -> Any:
    return tree_map(lambda leaf: HOME if _names(leaf, DEVICE) else leaf, arguments)


def _marked(found: Any) -> Any:
    if not isinstance(found, Tensor) or isinstance(found, nn.Parameter):
        return found
    if found.dtype in (torch.float64, torch.complex128):
        raise TypeError(f"Cannot convert a {DEVICE} tensor to float64: the framework doesn't support it")
    return found if isinstance(found, OnDevice) else found.as_subclass(OnDevice)


def _plain(found: Any) -> Any:
    return Tensor.as_subclass(found, Tensor) if isinstance(found, OnDevice) else found
