"""Leaving a model as it was found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from perturbsets._types import Model
from perturbsets.model_call import roots, unwrapped

Mode = Literal["eval", "keep"]


@contextmanager
def untouched(model: Model | None, device: torch.device, mode: Mode = "eval") -> Iterator[Any]:
    """Runs a block that leaves no trace, also when it raises.

    Training flags of every submodule, running statistics of normalisations and the global random states, those of
    Python and NumPy among them, are as before; gradients are enabled inside, whatever the caller's setting.

    Args:
        model: The model to protect, if there is one; of a function, the modules that it refers to.
        device: Device whose random state is protected beside the CPU's.
        mode: ``"eval"`` puts the model into evaluation mode for the block, ``"keep"`` leaves its mode alone.

    Yields:
        The model to call in the block: the one inside a wrapper for several processes, which may then make different
        numbers of calls.
    """
    python, numpy = random.getstate(), np.random.get_state()
    tops = roots(model)
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
            yield unwrapped(model)
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        with torch.no_grad():
            for module, name, buffer, before in statistics:
                setattr(module, name, buffer.copy_(before))
        random.setstate(python)
        np.random.set_state(numpy)


def ordinary(given: Any) -> Any:
    """A copy of what was made in inference mode, since autograd refuses it; anything else itself."""
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given
