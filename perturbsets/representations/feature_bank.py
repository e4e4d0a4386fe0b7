"""Banks in HDF5 files: reading them, and writing the features of a whole data set."""

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
from jaxtyping import Float
from torch import Tensor, nn

from augment.provenance import described
from augment.store.hdf5_layout import Array, UnusableError, locate, opened
from augment.store.partial import Partial
from perturbsets._types import Labels, Rows, Samples
from perturbsets.fingerprint import digest
from perturbsets.layer_outputs import Activation, LayerOutputs, layer_names
from perturbsets.model_call import class_logits, preserve_state
from perturbsets.representations.bank import Bank, not_finite

FORMAT, VERSION = "perturbsets.features", 1


class FeatureBank(Bank):
    """Features of the images of a data set, in a file that :func:`write_bank` made.

    Opening it reads only labels and predictions. Features are read on demand through a memory map that is closed again:
    a search through a bank far larger than memory holds one block at a time.

    Args:
        path: The file.

    Attributes:
        layers: Names of the layers, in the order of the network.
        labels: Class of each image.
        predictions: Class that the network predicts for each image.
        classes: Names of the classes; empty where the data set has none.
        provenance: Model, data and versions that made the features.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no bank: truncated, not HDF5, with links, or with wrong shapes or types; with the reason.

    Example:
        >>> bank = FeatureBank("features.h5")  # doctest: +SKIP
        >>> nearest_neighbours(queries, bank.blocks("fc"), count=3)  # doctest: +SKIP
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with opened(self.path, "bank of features", "write_bank", (FORMAT, VERSION)) as file:
            self._open(file)

    def _open(self, file: h5py.File) -> None:
        try:
            self.layers = tuple(str(name) for name in file.attrs["layers"])
            self.classes = tuple(str(name) for name in file.attrs["classes"])
            self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableError(f"an attribute is missing or damaged ({error})") from error
        if not self.layers:
            raise UnusableError("it has no layers")
        length = self.path.stat().st_size
        for name in ("labels", "predictions"):
            locate(file, name, length, 1, ("int64",), mapped=True)
        self.labels: Labels = torch.from_numpy(file["labels"][()])
        self.predictions: Labels = torch.from_numpy(file["predictions"][()])
        self._places = {
            layer: locate(file, _table(number), length, 2, ("float32",), mapped=True)
            for number, layer in enumerate(self.layers)
        }
        lengths = {name: place.shape[0] for name, place in self._places.items()}
        lengths["predictions"] = len(self.predictions)
        wrong = {name: rows for name, rows in lengths.items() if rows != len(self.labels)}
        if wrong or not len(self.labels):
            raise UnusableError(f"it has {len(self.labels)} labels, and other numbers of rows: {wrong}")

    def _read(self, layer: str, rows: Rows) -> Float[Tensor, "N D"]:
        values, wanted = self._places[layer].map(self.path), rows.numpy()
        if len(wanted) and (np.diff(wanted) == 1).all():  # a slice is read faster
            return torch.from_numpy(values[wanted[0] : wanted[-1] + 1].copy())
        return torch.from_numpy(np.take(values, wanted, axis=0))


def _table(number: int) -> str:
    """Name of a layer's table: HDF5 could read the layer's own name as a path."""
    return f"layer{number}"


@runtime_checkable
class LabelledImages(Protocol):
    """Images with labels, such as an :class:`augment.Source`."""

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
    """Stores the outputs of chosen layers of a classifier for every image, with labels and predictions, in one file.

    One pass per image gives all of it. The model runs in evaluation mode and is left as it was. Features are stored in
    single precision. A kill or an error leaves the folder ``NAME.partial`` beside the target, and the next call with
    the same arguments resumes there, to the same bytes; another model, data set or setting starts anew.

    Args:
        path: The file to write; an existing one is replaced.
        model: A classifier that gives logits.
        layers: Names or globs, as for :func:`layer_names`.
        data: The images; a source of ``augment``, or anything of its interface.
        activation: ``"relu"`` stores the layers' outputs after a ReLU, ``"none"`` the outputs themselves.
        batch: Images per pass of the model.
        device: Where the model is, and images go; by default the device of its weights.
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
    if device is None:
        device = next((each.device for each in chain(model.parameters(), model.buffers())), "cpu")
    device = torch.device(device)
    passes = _Passes(model, names, activation, data, device)
    batches = [range(start, min(start + batch, len(data))) for start in range(0, len(data), batch)]
    first = passes(batches[0])
    tables = {name: ((len(data), *values.shape[1:]), values.dtype.name) for name, values in first.items()}
    weights, state = digest(model), getattr(data, "state", "")
    arguments = [FORMAT, VERSION, names, activation, batch, device.type, described(data), state, weights, passes.first]
    with Partial(path, tables, digest(arguments)) as partial:
        done = {record["start"] for record in partial.records}
        for rows in batches:
            if rows.start in done:
                continue
            for name, values in (first if rows.start == 0 else passes(rows)).items():
                shape = tables[name][0][1:]
                if values.shape != (len(rows), *shape):
                    raise ValueError(
                        f"data must hold images of one size, got features {values.shape[1:]} after {shape} in table "
                        f"{name}: give a size to the source"
                    )
                partial.write(name, np.arange(rows.start, rows.stop), values)
            partial.record({"start": rows.start})
            if progress is not None:
                progress(rows.stop, len(data))
        partial.finish({"/": _attributes(names, activation, data, type(model).__name__, weights)})
    return FeatureBank(path)


def _attributes(
    names: Sequence[str], activation: Activation, data: LabelledImages, network: str, weights: str
) -> dict[str, Any]:
    """What the file says of itself."""
    provenance = {
        "model": {"class": network, "weights": weights},
        "data": described(data),
        "activation": activation,
        "versions": {package: metadata.version(package) for package in ("torch", "h5py")},
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "layers": names,
        "classes": np.array(list(map(str, getattr(data, "classes", ()))), dtype=h5py.string_dtype()),
        "provenance": json.dumps(provenance, sort_keys=True),
    }


class _Passes:
    """Rows of the tables, from one pass of the model per batch; keeps the first batch for the fingerprint."""

    def __init__(
        self, model: nn.Module, names: list[str], activation: Activation, data: LabelledImages, device: torch.device
    ) -> None:
        self.names, self.data, self.device = names, data, device
        self.model = _WithPredictions(model)
        self.outputs = LayerOutputs(self.model, [*map(_inside, names), "predictions"], activation=activation)
        self.first: list[Tensor] = []

    def __call__(self, rows: range) -> dict[str, Array]:
        images, labels = self.data.batch(list(rows))
        if len(images) != len(rows) or labels.shape != (len(rows),) or labels.is_floating_point():
            raise ValueError(
                f"data must give an image and a whole number as label for each of {len(rows)} rows, got images "
                f"{list(images.shape)} and labels {list(labels.shape)} of {labels.dtype}"
            )
        self.first = self.first or [images, labels]
        with preserve_state(self.model, self.device), torch.no_grad():
            outputs = self.outputs(images.to(self.device))
        predictions = outputs["predictions"][:, 0].long()
        tables = {"labels": labels.long().cpu().numpy(), "predictions": predictions.cpu().numpy()}
        for number, name in enumerate(self.names):
            features = outputs[_inside(name)].float().cpu()
            if (bad := not_finite(features)) is not None:
                raise ValueError(f"layer {name!r} must give finite features, got NaN or infinity for image {rows[bad]}")
            tables[_table(number)] = features.numpy()
        return tables


class _WithPredictions(nn.Module):
    """A classifier with its predictions as a last layer, so that one pass gives features and predictions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.predictions = model, nn.Identity()

    def forward(self, images: Samples) -> Tensor:
        logits = class_logits(self.model, images)
        if logits.ndim != 2 or not bool(logits.isfinite().all()):
            got = list(logits.shape)
            raise ValueError(f"model must give a matrix of finite logits, one row per image, got {got}")
        return self.predictions(logits.argmax(1, keepdim=True).float())  # which a ReLU does not change


def _inside(name: str) -> str:
    return f"model.{name}" if name else "model"
