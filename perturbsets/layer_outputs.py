"""Outputs of chosen layers of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from perturbsets._types import Samples
from perturbsets.model_call import output
from perturbsets.printing import Printed
from perturbsets.rows import check_choice

Activation = Literal["relu", "none"]
Features = Float[Tensor, "B _"]
"""One row per image; its length differs from layer to layer."""
NEAREST = 5  # names that an error offers


class _Enough(BaseException):
    """Ends a pass after the last layer wanted; not an Exception, so that no model catches it."""


class LayerOutputs:
    r"""The outputs of chosen layers, as one matrix each.

    .. math:: \phi_k(x) = \max(0, h_k(x)), \quad \text{or } h_k(x) \text{ with } \texttt{activation="none"}

    with :math:`h_k` the output of layer k, flattened. The outputs are taken as they leave the layer: what a later layer
    overwrites in place stays as it was. The first batch goes through the whole model, to see how often every layer is
    called; later ones end after the last layer wanted. Modes, hooks and weights are left as they were, also when
    the model raises.

    Args:
        model: The network.
        layers: Names as in ``model.named_modules()``, or globs such as ``"features.*"``; see :func:`layer_names`.
        activation: ``"relu"`` applies a ReLU to the output, which changes nothing if the layer ends in one;
            ``"none"`` takes the output.

    Attributes:
        names: The layers, in the order of the network.

    Raises:
        ValueError: If a layer or the activation is unknown; at a call, if a layer is not called, called several times,
            or returns something else than a floating-point tensor with a row per image.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> outputs = LayerOutputs(model, ["1", "3"], activation="none")(torch.rand(5, 1, 2, 2))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'1': (5, 3), '3': (5, 2)}
    """

    def __init__(self, model: nn.Module, layers: str | Sequence[str], *, activation: Activation = "relu") -> None:
        check_choice("activation", activation, Activation)
        self.model, self.activation = model, activation
        self._layers = _chosen(model, layers)
        self.names = [layer.name for layer in self._layers]
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._checked = False

    def __call__(self, images: Samples) -> dict[str, Features]:
        """By name of the layer a matrix with a row per image, in the order of ``names``; the pass ends where it may."""
        if not len(images):  # one image gives the sizes of layers; a model never gets an empty batch
            return {name: each[:0] for name, each in self(images.new_zeros(1, *images.shape[1:])).items()}
        with self._listening(len(images)) as (outputs, calls), suppress(_Enough):
            output(self.model, images)
        if not self._checked or len(outputs) < len(self.names):
            self._check(calls)
            self._checked = True
        return {name: outputs[name] for name in self.names}

    @contextmanager
    def _listening(self, count: int) -> Iterator[tuple[dict[str, Tensor], Counter[str]]]:
        """Hooks that record outputs, by name, and calls, by module; removed at the end."""
        outputs: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def listen(module: str, wanted: list[_Layer]) -> Any:
            def hook(_: nn.Module, given: Any, output: Any) -> None:
                for layer in wanted:
                    if calls[module] == (layer.call or 0):
                        outputs[layer.name] = self._taken(layer.name, output, count)
                calls[module] += 1
                if self._checked and len(outputs) == len(self.names):
                    raise _Enough

            return hook

        handles = [
            self._modules[module].register_forward_hook(listen(module, [*wanted]))
            for module, wanted in groupby(self._layers, lambda layer: layer.module)
        ]
        try:
            yield outputs, calls
        finally:
            for handle in handles:
                handle.remove()

    def _taken(self, name: str, output: Any, count: int) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.shape[:1] != (count,):
            is_tensor = isinstance(output, Tensor)
            got = f"{list(output.shape)} of {output.dtype}" if is_tensor else type(output).__name__
            raise ValueError(
                f"layer {name!r} must return one floating-point tensor with a row for each of {count} images, got "
                f"{got}: take a layer inside or after it"
            )
        output = output.relu() if self.activation == "relu" else output.clone(memory_format=torch.contiguous_format)
        return output.flatten(1) if output.ndim > 1 else output[:, None]

    def _check(self, calls: Counter[str]) -> None:
        for layer in self._layers:
            times = calls[layer.module]
            if times <= (layer.call or 0):
                remedy = f"take {layer.module}:0 to :{times - 1}" if times else "take a layer that is, or its parent"
                raise ValueError(
                    f"layer {layer.name!r} must be called in a pass of the model, got {times} calls of "
                    f"{layer.module!r}: {remedy}"
                )
            if layer.call is None and times > 1:
                raise ValueError(
                    f"layer {layer.name!r} is called {times} times in a pass: say which call is meant, from "
                    f"'{layer.name}:0' to '{layer.name}:{times - 1}'"
                )


def layer_names(model: nn.Module, layers: str | Sequence[str]) -> list[str]:
    """The layers of a model that names or globs refer to, without repetition, in the order of the network.

    Names are as in ``model.named_modules()``, the empty one for the model itself; in globs ``*`` matches dots too.
    ``":1"`` after a name means the second call of a layer in a pass, as of a ReLU that several places share.

    Raises:
        ValueError: If no layer is named, or a name or glob matches none; the message offers the nearest names.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> layer_names(model, ["2", "[01]"])
        ['0', '1', '2']
    """
    return [layer.name for layer in _chosen(model, layers)]


@dataclass(frozen=True)
class _Layer(Printed):
    """A call of a layer: its place in the network, its name, and which call, if given."""

    place: int
    module: str
    call: int | None

    @property
    def name(self) -> str:
        return self.module if self.call is None else f"{self.module}:{self.call}"


def _chosen(model: nn.Module, layers: str | Sequence[str]) -> list[_Layer]:
    asked = [layers] if isinstance(layers, str) else list(layers)
    if not asked:
        raise ValueError("layers must name at least one layer, got none")
    places = {name: place for place, (name, _) in enumerate(model.named_modules(remove_duplicate=False))}
    chosen: set[_Layer] = set()
    for pattern in asked:
        called = None if pattern in places else re.fullmatch(r"(.*):(\d+)", pattern)
        plain, call = (called[1], int(called[2])) if called else (pattern, None)
        fitting = [name for name in places if name == plain or (name and fnmatchcase(name, plain))]
        if not fitting:
            near = get_close_matches(plain, places, NEAREST, cutoff=0.0)
            raise ValueError(
                f"layers must be names or globs of layers of the model, got {pattern!r}: nearest are {near}"
            )
        chosen |= {_Layer(places[name], name, call) for name in fitting}
    return sorted(chosen, key=lambda layer: (layer.place, -1 if layer.call is None else layer.call))
