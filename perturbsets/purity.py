"""Leaving a model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

Mode = Literal["eval", "keep"]


@contextmanager
def untouched(model: nn.Module | None, device: torch.device, mode: Mode = "eval") -> Iterator[None]:
    """Runs a block that leaves no trace, also when it raises.

    Training flags of every submodule, running statistics of normalisations and the global random states
    are as before; gradients are enabled inside, whatever the caller's setting.

    Args:
        model: The model to protect, if there is one.
        device: Device whose random state is protected beside the CPU's.
        mode: ``"eval"`` puts the model into evaluation mode for the block, ``"keep"`` leaves its mode alone.

    Yields:
        Nothing.
    """
    modules = [] if model is None else list(model.modules())
    flags = [module.training for module in modules]
    statistics = [
        (buffer, buffer.clone())
        for module in modules
        if mode == "keep" and module.training
        for buffer in module.buffers(recurse=False)
    ]
    if model is not None and mode == "eval" and any(flags):
        model.eval()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        with torch.no_grad():
            for buffer, before in statistics:
                buffer.copy_(before)
