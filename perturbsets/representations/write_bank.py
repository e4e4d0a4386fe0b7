"""Writing the features of a whole data set: in batches, whole or not at all, and on where a kill ended it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from augment.provenance import described
from augment.store.partial import Partial
from augment.store.places import Array
from perturbsets._types import Labels, Samples
from perturbsets.fingerprint import digest
from perturbsets.layer_outputs import Activation, LayerOutputs, layer_names
from perturbsets.model_call import class_logits
from perturbsets.purity import untouched
from perturbsets.representations.bank import not_finite
from perturbsets.representations.feature_bank import FORMAT, VERSION, FeatureBank, table


@runtime_checkable
class LabelledImages(Protocol):
    """Images with labels, as each :class:`augment.Source` gives them."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def batch(self, rows: Sequence[int], /) -> tuple[Samples, Labels]:
        """Images and labels at positions ``0 .. len(self) - 1``; the same at each call."""
        ...


def write_bank(
    path: Path | str,
    model: nn.Module,
    layers: str | Sequence[str],
    data: LabelledImages,
    *,
    activation: Activation = "relu",
    batch: int = 256,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureBank:
    """Stores what chosen layers of a classifier make of every image, with labels and predictions, in one file.

    One pass per image gives all of it. The model is judged in evaluation mode and left as it was. Features are stored
    in single precision. A kill or an error leaves the folder ``NAME.partial`` beside the target, and the next call with
    the same arguments goes on from there, to the same bytes; another model, data set or setting starts anew.

    Args:
        path: The file to write; an existing one is replaced.
        model: A classifier that gives logits.
        layers: Names or globs, as for :func:`layer_names`.
        data: The images; a source of ``augment``, or anything of its shape.
        activation: ``"relu"`` stores what a ReLU behind each layer hands on, ``"none"`` the layers' own outputs.
        batch: Images in one pass of the model.
        device: Where the model is, and images go; by default found from its weights.
        progress: Called with images done and images in all.

    Returns:
        The bank, opened.

    Raises:
        ValueError: If there are no images, a layer is unknown, batches do not fit together, the model gives no logits,
            or a feature or logit is not finite.
        OSError: If the disk is full or the folder not writable; nothing half-written is left.

    Example:
        >>> from augment import Digits
        >>> from perturbsets import SmallConvNet
        >>> bank = write_bank("features.h5", SmallConvNet(), "*", Digits("test"))  # doctest: +SKIP
    """
    if not len(data):
        raise ValueError("data must hold at least one image, got none: choose another split")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    path, names = Path(path), layer_names(model, layers)
    on = _device(model) if device is None else torch.device(device)
    passes = _Passes(model, names, activation, data, on)
    batches = [range(start, min(start + batch, len(data))) for start in range(0, len(data), batch)]
    first = passes(batches[0])
    tables = {name: ((len(data), *values.shape[1:]), values.dtype.name) for name, values in first.items()}
    weights = digest(model)
    state = getattr(data, "state", "")
    same = digest([FORMAT, VERSION, names, activation, batch, on.type, described(data), state, weights, passes.seen])
    with Partial(path, tables, same) as partial:
        done = {record["start"] for record in partial.records}
        for rows in batches:
            if rows.start in done:
                continue
            for name, values in (first if rows.start == 0 else passes(rows)).items():
                _check_shape(name, values, len(rows), tables[name][0][1:])
                partial.write(name, np.arange(rows.start, rows.stop), values)
            partial.record({"start": rows.start})
            if progress is not None:
                progress(rows.stop, len(data))
        about = {
            "model": {"class": type(model).__name__, "weights": weights},
            "data": described(data),
            "activation": activation,
            "versions": {package: metadata.version(package) for package in ("torch", "h5py")},
        }
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "layers": names,
            "classes": np.array(list(map(str, getattr(data, "classes", ()))), dtype=h5py.string_dtype()),
            "provenance": json.dumps(about, sort_keys=True),
        }
        partial.finish({"/": attributes})
    return FeatureBank(path)


class _Passes:
    """Rows of the tables, from one pass of the model per batch; remembers the first batch that it saw."""

    def __init__(
        self, model: nn.Module, names: list[str], activation: Activation, data: LabelledImages, device: torch.device
    ) -> None:
        self.names, self.data, self.device = names, data, device
        self.model = _WithPredictions(model)
        self.outputs = LayerOutputs(self.model, [*map(_inside, names), "predictions"], activation)
        self.seen: list[Tensor] = []

    def __call__(self, rows: range) -> dict[str, Array]:
        images, labels = self.data.batch(list(rows))
        if len(images) != len(rows) or labels.shape != (len(rows),) or labels.is_floating_point():
            raise ValueError(
                f"data must give an image and a whole number as label for each of {len(rows)} rows, got images "
                f"{list(images.shape)} and labels {list(labels.shape)} of {labels.dtype}"
            )
        self.seen = self.seen or [images, labels]
        with untouched(self.model, self.device), torch.no_grad():
            found = self.outputs(images.to(self.device))
        tables = {"labels": labels.long().cpu().numpy(), "predictions": found["predictions"][:, 0].long().cpu().numpy()}
        for number, name in enumerate(self.names):
            features = found[_inside(name)].float().cpu()
            if (bad := not_finite(features)) is not None:
                raise ValueError(f"layer {name!r} must give finite features, got NaN or infinity for image {rows[bad]}")
            tables[table(number)] = features.numpy()
        return tables


class _WithPredictions(nn.Module):
    """A classifier with its predictions as a last layer, so that the pass for the features gives them too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.predictions = model, _Predictions()

    def forward(self, images: Samples) -> Tensor:
        return self.predictions(class_logits(self.model, images))


class _Predictions(nn.Module):
    """The class of the largest logit, in a type that holds every class number exactly and that a ReLU leaves alone."""

    def forward(self, logits: Any) -> Tensor:
        if not isinstance(logits, Tensor) or logits.ndim != 2 or not bool(logits.isfinite().all()):
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"model must give a matrix of finite logits, one row per image, got {got}")
        return logits.argmax(1, keepdim=True).to(torch.float32)


def _inside(name: str) -> str:
    return f"model.{name}" if name else "model"


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def _check_shape(name: str, values: Any, rows: int, shape: tuple[int, ...]) -> None:
    if values.shape != (rows, *shape):
        raise ValueError(
            f"data must hold images of one size, got features {values.shape[1:]} after {shape} in table {name}: give a "
            "size to the source"
        )
