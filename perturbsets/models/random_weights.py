"""A copy of a network with random weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize
from torchvision.ops import FrozenBatchNorm2d

from perturbsets.model_call import given_or_fresh

COMPUTED = ("_g", "_v", "_orig")  # suffixes of the parameters of torch's older weight and spectral norm
NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@torch.no_grad()
def randomized(model: nn.Module, *, orthonormal: bool = False, generator: torch.Generator | None = None) -> nn.Module:
    r"""A copy of a network with new random weights, as a control for what its architecture alone does to images.

    .. math:: W_{ij} \sim N(0, 2/n), \qquad \text{or } W = U V^\top \text{ of the singular vectors of such a matrix}

    with n the inputs of one unit, so that layers with ReLUs preserve the mean square. Each weight tensor is the matrix
    ``[out, in * rows * columns]`` of its kernel, one for each group of a grouped convolution. Orthonormal ones have all
    singular values 1, so that no direction is favoured; with ReLUs the mean square then halves from layer to layer.

    Biases become 0. Normalisations are reset: scale 1, shift 0, running mean 0 and variance 1. Parameters of no layer,
    such as class tokens, position embeddings and layer scales, are permuted at random. Other buffers, such as those of
    :class:`Normalized`, stay. Shared weights stay shared; parametrisations (weight norm, spectral norm) become plain
    weights.

    Args:
        model: The network; not changed.
        orthonormal: Whether all singular values are 1.
        generator: For the weights; a fresh one, seeded by the system, if not given.

    Returns:
        The copy, with the same modes, types and devices.

    Raises:
        ValueError: If the model has no weights, or some that its first pass creates or a hook computes.

    References:
        He et al., *Delving deep into rectifiers*, 2015, eq. 10;
        Saxe, McClelland and Ganguli, *Exact solutions to the nonlinear dynamics of learning*, 2014 (orthonormal);
        Sabour et al., *Adversarial manipulation of deep representations*, 2016 (feature adversaries of both).

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
        >>> torch.linalg.svdvals(randomized(model, orthonormal=True)[1].weight.detach()).round(decimals=3)
        tensor([1., 1., 1., 1.])
    """
    generator = given_or_fresh(generator)
    _check_parameters(model)
    made = copy.deepcopy(model)
    for module in list(made.modules()):
        if parametrize.is_parametrized(module):
            _unparametrise(module)
    done: set[int] = set()
    for module in made.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for name, buffer in module.named_buffers(recurse=False):
                buffer.fill_(float(name in ("weight", "running_var")))
        if isinstance(module, NORMALISATIONS):
            module.reset_parameters()
            done.update(map(id, module.parameters(recurse=False)))
    for module in made.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in done:
                done.add(id(parameter))
                parameter.copy_(_redrawn(module, name, parameter, generator, orthonormal=orthonormal))
    if not done:
        raise ValueError(f"model must have weights to draw anew, got a {type(model).__name__} without parameters")
    return made


def _check_parameters(model: nn.Module) -> None:
    """Refuses weights that a hook computes before each pass, which would replace those drawn, and missing ones."""
    for place, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(parameter, nn.UninitializedParameter):
                raise ValueError(
                    f"model must have all of its weights, got a {type(module).__name__} at {place!r} that has none "
                    "before its first pass: call the model once"
                )
            if name.endswith(COMPUTED):
                raise ValueError(
                    f"model must have weights of its own, got {name} at {place!r}, of which a hook computes them: take "
                    "torch.nn.utils.parametrizations, or remove_weight_norm or remove_spectral_norm first"
                )


def _unparametrise(module: nn.Module) -> None:
    """Replaces computed weights by plain ones; torch's own function would change the caller's model as well."""
    computed = dict(module.parametrizations.items())  # type: ignore[union-attr, operator]
    plain = {
        name: nn.Parameter(getattr(module, name).clone(), any(p.requires_grad for p in made_of.parameters()))
        for name, made_of in computed.items()
    }
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, parameter in plain.items():
        module.register_parameter(name, parameter)


def _redrawn(module: nn.Module, name: str, old: Tensor, generator: torch.Generator, *, orthonormal: bool) -> Tensor:
    """The new value of a parameter, drawn on the generator's device."""
    if "bias" in name:
        return torch.zeros_like(old)
    if "weight" not in name or old.ndim < 2:
        order = torch.randperm(old.numel(), generator=generator, device=generator.device)
        return old.flatten()[order.to(old.device)].view_as(old)
    dtype = torch.promote_types(old.dtype, torch.float32)  # matrices of halves cannot be factorised
    drawn = torch.empty(_matrices(module, name, old), dtype=dtype, device=generator.device)
    for matrix in drawn:
        if orthonormal:
            nn.init.orthogonal_(matrix, generator=generator)
        else:
            matrix.normal_(0, (2 / _inputs(module, matrix)) ** 0.5, generator=generator)
    return drawn.view(old.shape)


def _matrices(module: nn.Module, name: str, weight: Tensor) -> tuple[int, int, int]:
    """Number, rows and columns of the matrices in a weight tensor."""
    stacked = 3 if name == "in_proj_weight" else 1  # of an attention: queries, keys and values
    groups = module.groups if isinstance(module, _ConvNd) else stacked
    rows = len(weight) // groups
    return groups, rows, weight.numel() // (groups * rows)


def _inputs(module: nn.Module, matrix: Tensor) -> float:
    """Number of inputs of one unit, for transposed convolutions on average."""
    if isinstance(module, _ConvTransposeNd):
        return float(len(matrix) * math.prod(module.kernel_size) / math.prod(module.stride))
    return float(matrix.shape[1])
