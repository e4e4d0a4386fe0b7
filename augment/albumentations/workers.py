"""Seeds for albumentations pipelines in the workers of a data loader, which all start with the same random state."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from gc import is_tracked
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import BasicTransform
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

PLAIN = (str, bytes, int, float, complex, type(None), PurePath, np.ndarray, np.generic, Tensor, type, ModuleType)
LIBRARIES = ("albumentations", "augment", "builtins", "cv2", "numpy", "PIL", "torch", "torchvision", "typing")


def seed_worker(worker_id: int) -> None:
    """Reseeds the albumentations pipelines of a data loader's worker by the worker's seed, anew in each epoch.

    albumentations 2.0.8 keeps random states of its own, and every worker gets a copy of the same one in every epoch:
    without this, all workers and all epochs draw the same augmentations. It overrides a pipeline's own ``seed=``; draws
    repeat under ``torch.manual_seed``, or with the loader's ``generator=``.

    Raises:
        RuntimeError: If called outside of a worker.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader([1, 2, 3], num_workers=2, worker_init_fn=seed_worker)
    """
    worker = get_worker_info()
    if worker is None:
        raise RuntimeError(
            f"seed_worker({worker_id}) runs in the workers of a data loader, `DataLoader(..., worker_init_fn="
            "seed_worker)`; without workers call `reseed(dataset)`"
        )
    reseed(worker.dataset, worker.seed)


def reseed(data: Any, seed: int | None = None) -> int:
    """Reseeds every albumentations pipeline in a data set, each with a random state of its own.

    Pipelines are searched in attributes, lists, tuples, dictionaries, data sets inside data sets, pipelines of
    torchvision, and objects that functions refer to. The transforms of a composition share one state.

    Args:
        data: The data set, or another object that holds pipelines.
        seed: 0 or more; drawn from torch's global state if not given.

    Returns:
        Number of compositions and of transforms outside of any; a warning is given if it is 0.

    Example:
        >>> import albumentations
        >>> pipeline = albumentations.Compose([albumentations.RandomBrightnessContrast()])
        >>> reseed({"train": pipeline}, seed=1)
        1
    """
    pipelines = list(_pipelines(data))
    if not pipelines:
        warnings.warn(
            f"found no albumentations pipeline in {type(data).__name__}, so none was given a seed: is it an "
            "attribute of the data set?",
            stacklevel=2,
        )
    if seed is None:
        seed = int(torch.randint((1 << 63) - 1, ()))
    for pipeline, own in zip(pipelines, np.random.SeedSequence(seed).spawn(len(pipelines)), strict=True):
        numbers = np.random.default_rng(own)
        pipeline.set_random_state(numbers, random.Random(int(numbers.integers(1 << 63))))
    return len(pipelines)


def _pipelines(data: Any) -> Iterator[Any]:
    """Compositions and single transforms that can be reached from an object, each once, in a fixed order."""
    waiting, seen = [data], dict[int, Any]()
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, PLAIN) or id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept, so that no other object takes its number
        if isinstance(thing, BaseCompose | BasicTransform):
            yield thing
        else:
            # Objects that the garbage collector does not track refer to no others: skipping them is fast.
            waiting.extend(filter(is_tracked, _held(thing)))


def _held(thing: Any) -> Iterable[Any]:
    """The objects that an object refers to."""
    if isinstance(thing, list | tuple):
        return thing
    if isinstance(thing, dict):  # other mappings may read a file at each value
        return list(thing.values())
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, FunctionType):
        return _referred(thing)
    classes = type(thing).__mro__ if isinstance(thing, Dataset) else ()
    return [getattr(thing, "__dict__", None), *(dict(vars(own)) for own in classes if _is_of_user(own.__module__))]


def _referred(function: FunctionType) -> Iterator[Any]:
    """Enclosed values, defaults and, in a user's own functions, globals."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            yield cell.cell_contents
    yield function.__defaults__
    yield function.__kwdefaults__
    if _is_of_user(function.__module__):
        yield from (function.__globals__.get(name) for name in function.__code__.co_names)


def _is_of_user(module: str | None) -> bool:
    return (module or "").partition(".")[0] not in LIBRARIES
