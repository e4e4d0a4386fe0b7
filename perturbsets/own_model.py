"""A user's own model, images and set, as a command line names them.

Only what the user typed is imported. Recipes never lead here: what they build is looked up in a table of classes.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Subset

from augment import ImageFolder
from augment.images import list_images, read_with_size
from perturbsets.attacks.gradient import pixel_ball
from perturbsets.evaluation import evaluate_robustness
from perturbsets.loading import load
from perturbsets.printing import percent_interval
from perturbsets.sets import PerturbationSet

FORM = "mypackage.mymodule:make_model"
HUB = "hf:"
LISTED = 3  # names of weights in a message
SAVED = "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') writes them"


class OfFunction(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> Any:
        """The output of the function."""
        return self.function(images)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Lets modules of a folder be imported inside a block, as `python -m` does for the working folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def build_model(name: str, weights: Path | None = None) -> nn.Module:
    """The model of ``module:name`` in evaluation mode, with weights if given.

    The name is that of a module of torch; of a function or class without required arguments that makes one; or of a
    function of images that returns logits.

    Raises:
        ImportError: If there is no such module.
        ValueError: If the name has another form or leads to no model, or the weights do not fit it.
    """
    module, _, inner = name.partition(":")
    if not module or not inner:
        raise ValueError(f"model must be of the form {FORM}, got {name!r}")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"model {name} needs a module {error.name!r}, which is neither in {Path.cwd()} nor installed"
        ) from error
    for part in inner.split("."):
        if not hasattr(found, part):
            raise ValueError(f"model {name} must be a name in its module, but {found.__name__} has no {part}")
        found = getattr(found, part)
    if callable(found) and not isinstance(found, nn.Module):
        found = OfFunction(found) if inspect.isfunction(found) and _required(found) else found()
    if not isinstance(found, nn.Module):
        raise ValueError(f"model {name} must be or make a torch.nn.Module, got a {type(found).__name__}")
    if weights is not None:
        _load(found, weights)
    return found.eval()


def chosen_set(norm: str, radius: str | None, learned: str | None) -> PerturbationSet:
    """The pixel ball of a norm, or a learned set by name, of a radius such as ``8/255``.

    Raises:
        FileNotFoundError: If there is no such learned set.
        ValueError: If the radius is no number, or the norm unknown.
    """
    try:
        size = None if radius is None else float(Fraction(radius) if "/" in radius else radius)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"radius must be a number such as 8/255 or 0.5, got {radius!r}") from None
    if learned is None:
        return pixel_ball(norm, size)
    return load(learned) if size is None else replace(load(learned), radius=size)


def read_data(name: str, split: str) -> Any:
    """A folder of class folders, its images in the size and channels of the first; or ``hf:NAME`` of the hub.

    Raises:
        ImportError: If ``hf:`` is asked for and ``datasets`` is not installed.
        ValueError: If there is no such folder, split or image, or no folder for each class.
    """
    if name.startswith(HUB):
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise ImportError(f"data {name} needs Hugging Face datasets: pip install datasets") from error
        return load_dataset(name.removeprefix(HUB), split=split)
    if not Path(name).is_dir():
        raise ValueError(f"data must be a folder with a folder of images for each class, or {HUB}NAME, got {name}")
    files = list_images(name)
    if not files:
        raise ValueError(f"data must hold images, found none below {name}")
    with Image.open(Path(name) / files[0]) as image:
        channels = 1 if image.mode in ("1", "L", "LA") else 3
    size = read_with_size(Path(name) / files[0], channels=channels)[1]
    folder = ImageFolder(split, name, size=size, channels=channels, shares={split: 1.0})
    if not folder.classes:
        raise ValueError(f"data must have a folder for each class, but some images of {name} lie in none")
    return folder


def measure(
    model: nn.Module,
    data: Any,
    chosen: PerturbationSet,
    *,
    images: int,
    seed: int,
    fields: Sequence[str] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Clean and robust accuracy on at most so many of the images, drawn at random, as plain values.

    ``lines`` are the figures as text, by name. Further settings are those of :func:`perturbsets.evaluate_robustness`.
    """
    begun, draws = time.perf_counter(), torch.Generator().manual_seed(seed)
    if len(data) > images:
        data = Subset(data, torch.randperm(len(data), generator=draws)[:images].tolist())
    result = evaluate_robustness(model, data, chosen, fields=fields, generator=draws, **settings)
    seconds = time.perf_counter() - begun
    lines = {
        "clean accuracy": percent_interval(result.clean),
        "robust accuracy": percent_interval(result.accuracy) + ", at most: other attacks may succeed on more",
        "threat model": repr(chosen),
        "images": str(len(result.broken_by)),
        "time": f"{seconds:.1f} s, {int(result.calls.sum()):,} forward passes",
    }
    return {**result.summary(), "threat_model": repr(chosen), "seed": seed, "seconds": seconds, "lines": lines}


def _required(function: Any) -> bool:
    """Whether a function needs an argument."""
    given = inspect.signature(function).parameters.values()
    return any(
        each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in given
    )


def _load(model: nn.Module, file: Path) -> None:
    try:
        tensors = safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"weights must be a safetensors file, got {file} ({error}); pickles are not read: {SAVED}"
        ) from error
    wrong = model.load_state_dict(tensors, strict=False)
    names = {"missing": wrong.missing_keys, "unknown": wrong.unexpected_keys}
    if any(names.values()):
        got = " and ".join(f"{len(each)} {kind} ({', '.join(each[:LISTED])})" for kind, each in names.items() if each)
        raise ValueError(f"weights must be those of the model, got {got} in {file}: {SAVED}")
