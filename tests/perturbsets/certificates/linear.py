"""Linear classifiers on sets that are linear in their offsets: every share of votes and every radius is known."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from perturbsets import ComposedSet, LatentBall, PerturbationSet, PixelBall

KINDS = ["pixels", "latents", "composed"]
WIDE = PixelBall("l2", 2.0, bounds=(-math.inf, math.inf))


class Case(NamedTuple):
    """A set, the noise in it, and what the radius counts: a standard deviation of the noise in the set's own unit."""

    perturbations: PerturbationSet
    sigma: Any
    unit: float


def case(kind: str, linear_cvae: Any) -> Case:
    latent = LatentBall(linear_cvae(), 1.0)
    return {
        "pixels": Case(WIDE, 0.3, 0.3),
        "latents": Case(latent, 2.0, 2.0),
        "composed": Case(ComposedSet([latent, WIDE]), (2.0, 0.1), 1.0),
    }[kind]


def two_classes(bias: float = 0.0) -> nn.Module:
    """Class 1 where a linear function of 6 pixels is positive."""
    layer = nn.Linear(6, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(6), torch.linspace(-1, 2, 6)]))
        layer.bias.copy_(torch.tensor([0.0, bias]))
    return nn.Sequential(nn.Flatten(), layer)


def distances(model: nn.Module, images: Tensor, kind: str, linear_cvae: Any) -> Tensor:
    """Signed distance of each image from the class boundary, in standard deviations of the noise."""
    parts, sigma, _ = case(kind, linear_cvae)
    scales = torch.tensor({"pixels": [sigma] * 6, "latents": [sigma] * 2}.get(kind, [2.0] * 2 + [0.1] * 6))
    region = (LatentBall(linear_cvae(), 1.0) if kind != "pixels" else parts).at(images)
    here = region.decode(torch.zeros(len(images), region.size))
    slope = (model[1].weight[1] - model[1].weight[0]).detach()  # type: ignore[index, union-attr, operator]
    effects = [(region.decode(one.expand(len(images), -1)) - here)[0].flatten() for one in torch.eye(region.size)] + (
        list(torch.eye(6)) if kind == "composed" else []
    )
    gradient = torch.stack(effects) @ slope * scales
    with torch.no_grad():
        logits = model(here)
    return ((logits[:, 1] - logits[:, 0]) / gradient.norm()).double()
