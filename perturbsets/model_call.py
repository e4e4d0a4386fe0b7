"""Calls of a user's model: protected inputs, outputs of any kind, and the model left as it was."""

from __future__ import annotations

import inspect
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from perturbsets._types import Model, Samples

Mode = Literal["eval", "keep"]
FOREIGN = {"torch", "torchvision", "numpy"}  # libraries whose functions refer to nothing of the user's
NAMES = ("logits", "out")  # of logits among several outputs: Hugging Face transformers, torchvision segmentation


def output(model: Model, samples: Samples) -> Any:
    """The output of a model for a copy of the samples, so that in-place operations change no tensor of the caller.

    Many models fail on an empty batch, so there must be at least one sample.
    """
    assert len(samples), "a model is never called with an empty batch"
    return model(samples.clone())


def logits(model: Model, samples: Samples) -> Tensor:
    """The logits of a model, a row for each of at least one sample, from any usual kind of output.

    That is a tensor; a mapping or object with one of the names ``logits`` and ``out``, as models of Hugging Face and
    segmentation models of torchvision return; or a tuple with a single tensor in it.

    Raises:
        ValueError: If it is not clear which tensor holds the logits, or it does not have one row for each sample.
    """
    returned = output(model, samples)
    tensors = _tensors(returned)
    if len(tensors) != 1:
        got, part = _described(returned)
        advice = f"say which of it they are, for example `lambda x: model(x){part}` in place of `model`"
        raise ValueError(f"model must return logits, got {got}: {advice if part else 'return a torch tensor'}")
    if tensors[0].ndim == 0 and len(samples) == 1:  # a single logit, squeezed
        return tensors[0].reshape(1)
    if tensors[0].ndim == 0 or len(tensors[0]) != len(samples):
        raise ValueError(
            f"model must return one row of logits for each of {len(samples)} images, got {list(tensors[0].shape)}: do "
            "not squeeze or average over the batch"
        )
    return tensors[0]


def class_logits(model: Model, samples: Samples) -> Tensor:
    r"""The logits of a classifier, ``[B, K]``, or of each pixel, ``[B, K, ...]``, with K at least 2.

    A single logit z, ``[B]`` or ``[B, 1]``, is that of class 1 against class 0: the logits are then (0, z), whose
    cross-entropy is the binary one of z. Outputs and errors are as for :func:`logits`.
    """
    return two_classes(logits(model, samples))


def two_classes(logits: Tensor) -> Tensor:
    """Logits (0, z) of two classes where there is a single logit z, ``[B]`` or ``[B, 1, ...]``; others as they are."""
    if logits.ndim == 1:
        logits = logits[:, None]
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def unwrapped(model: Any, tops: Sequence[nn.Module] | None = None) -> Any:
    """The module inside a wrapper for several processes, whose passes would wait for the other processes.

    The model's :func:`roots` are searched unless they are given.

    Raises:
        ValueError: If a function calls such a wrapper, so that nothing can be put in its place.
    """
    if isinstance(model, DistributedDataParallel):
        return model.module
    if any(isinstance(top, DistributedDataParallel) for top in (roots(model) if tops is None else tops)):
        raise ValueError(
            "model must not be a function over a DistributedDataParallel, whose passes wait for the other processes: "
            "write the function over its `.module`"
        )
    return model


def roots(model: Any) -> list[nn.Module]:
    """The modules that a call reaches: the model itself, or those that a function or object refers to."""
    return list(reachable(model, lambda part: isinstance(part, nn.Module)))


def _tensors(returned: Any) -> list[Tensor]:
    """The tensors in a model's output that may be logits."""
    if isinstance(returned, Mapping):
        parts: Any = [returned[name] for name in NAMES if name in returned]
    elif any(isinstance(getattr(returned, name, None), Tensor) for name in NAMES):
        parts = [getattr(returned, name, None) for name in NAMES]
    else:
        parts = returned if isinstance(returned, tuple | list) else [returned]
    return [part for part in parts if isinstance(part, Tensor)]


def _described(returned: Any) -> tuple[str, str]:
    """What a model returned, and code for a part of it."""
    if isinstance(returned, Mapping):
        return f"a mapping of {sorted(map(str, returned))}", f"[{next(iter(returned), 0)!r}]"
    kind = type(returned).__name__
    if isinstance(returned, tuple | list):
        shapes = [list(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in returned]
        return f"a {kind} of {shapes}", "[0]"
    return kind, "".join(f".{name}" for name in list(getattr(returned, "__dict__", {}))[:1])


def check_call(model: Any, images: Any) -> None:
    """Refuses what is no model, or no tensor of images, and says what to write instead.

    Raises:
        TypeError: Naming the argument.
    """
    if model is not None and not callable(model):
        raise TypeError(f"model must be callable, got {type(model).__name__}: the order is (model, images, labels)")
    if isinstance(images, Tensor):
        return
    advice = "give a batch of floating-point values"
    if isinstance(images, np.ndarray):
        advice = "write torch.from_numpy(images), and where channels are last .permute(0, 3, 1, 2) after it"
    elif isinstance(images, list | tuple):
        advice = "write torch.stack(images) where they are tensors of one shape"
    elif isinstance(images, nn.Module | FunctionType):
        advice = "the order is (model, images, labels)"
    elif hasattr(images, "__len__") or hasattr(images, "__iter__"):
        advice = (
            "take one batch, `images, labels = next(iter(DataLoader(...)))`; evaluate, evaluate_robustness and "
            "attacks.autoattack take all data in place of images and labels"
        )
    kind = "NumPy array" if isinstance(images, np.ndarray) else type(images).__name__
    raise TypeError(f"images must be a torch tensor, got a {kind}: {advice}")


@contextmanager
def preserve_state(model: Model | None, like: Tensor | torch.device, mode: Mode = "eval") -> Iterator[Any]:
    """Leaves a model and the random states as they were after a block, also when it raises.

    Training flags of every submodule, running statistics of normalisations and the global random states, those of
    Python and NumPy among them, are as before; gradients are enabled inside, whatever the caller's setting.

    Args:
        model: The model to protect, if there is one; for a function the modules that it refers to.
        like: Images, or their device, whose random state is protected, as the CPU's is.
        mode: ``"eval"`` puts the model into evaluation mode for the block, ``"keep"`` leaves its mode alone.

    Yields:
        The model to call in the block: the one inside a wrapper for several processes, which may then make different
        numbers of calls.

    Raises:
        TypeError: If the images are no tensor, or the model cannot be called.
    """
    if not isinstance(like, torch.device):
        check_call(model, like)
    device = like.device if isinstance(like, Tensor) else like
    python, numpy = random.getstate(), np.random.get_state()
    tops = roots(model)
    called = unwrapped(model, tops)
    modules = [module for top in tops for module in top.modules()]
    flags = [module.training for module in modules]
    if mode == "eval" and any(flags):
        for top in tops:
            top.eval()
    statistics = [  # also of a module that its `eval` leaves in training mode
        (module, name, buffer, buffer.clone())
        for module in modules
        if module.training
        for name, buffer in module.named_buffers(recurse=False)
    ]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield called
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        with torch.no_grad():
            for module, name, buffer, before in statistics:
                setattr(module, name, buffer.copy_(before))
        random.setstate(python)
        np.random.set_state(numpy)


def given_or_fresh(generator: torch.Generator | None) -> torch.Generator:
    """The generator that was given, or a new one seeded by the system."""
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return generator


def initial_seed(generator: torch.Generator | None) -> int:
    """The seed that a generator began with, 0 if there is none: what is drawn then depends on no earlier draws."""
    return 0 if generator is None else generator.initial_seed()


def ordinary(given: Any) -> Any:
    """A copy of what was made in inference mode, since autograd refuses it; anything else itself."""
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given


def reachable(given: Any, is_wanted: Callable[[Any], bool]) -> Iterator[Any]:
    """The wanted objects among all that an object refers to, each once, so that wrappers need not pass them on.

    Attributes, slots, items of collections, and what functions, methods and ``partial`` enclose or name are followed;
    a wanted object is not searched itself.
    """
    waiting, seen = deque([given]), {id(given): given}  # kept alive: no number comes twice
    while waiting:
        part = waiting.popleft()
        if is_wanted(part):
            yield part
            continue
        new = {id(each): each for each in _parts(part) if id(each) not in seen}
        seen |= new
        waiting.extend(new.values())


def _parts(given: Any) -> Iterator[Any]:
    """The objects that an object refers to directly."""
    if isinstance(given, type | ModuleType | Tensor | str | bytes):
        return
    if isinstance(given, Mapping):
        yield from given.values()
    elif isinstance(given, list | tuple | set | frozenset):
        yield from given
    elif isinstance(given, partial):
        yield from (given.func, *given.args, *given.keywords.values())
    elif isinstance(given, MethodType):
        yield from (given.__self__, given.__func__)
    elif isinstance(given, FunctionType):
        if (given.__module__ or "").partition(".")[0] in FOREIGN:
            return
        yield from given.__defaults__ or ()
        for cell in given.__closure__ or ():
            with suppress(ValueError):  # an empty cell
                yield cell.cell_contents
        with suppress(ValueError):
            yield from inspect.getclosurevars(given).globals.values()
    yield from getattr(given, "__dict__", {}).values()
    for kind in type(given).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        yield from (getattr(given, name) for name in names if hasattr(given, name))
