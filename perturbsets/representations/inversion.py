"""Inversion: from a representation back to an image that has it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import nn

from perturbsets._types import Flags, Images, Model, Offsets, PerImage, Rows
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents.base import Ascent
from perturbsets.ascents.projected_lbfgs import ProjectedLBFGS
from perturbsets.layer_outputs import Activation, Features, LayerOutputs
from perturbsets.model_call import preserve_state
from perturbsets.objectives.base import Loss, Objective
from perturbsets.printing import Printed
from perturbsets.rows import check_choice, check_weights
from perturbsets.sets.pixel import PixelBall

GREY = 0.5  # centre and radius of the box [0, 1] of all images


@dataclass(frozen=True)
class InversionResult(Printed):
    """Images reconstructed from representations.

    Attributes:
        images: The images, in [0, 1].
        distances: Distances of their representations from those given, relative to the length of these; the root of
            the mean square over layers.
        calls: Forward passes spent on each.
    """

    images: Images
    distances: PerImage
    calls: Rows


@dataclass(frozen=True)
class Inversion(Printed):
    r"""Searches for a natural image with a given representation.

    .. math:: \min_{x \in [0, 1]^{CHW}}
        \frac1K \sum_k \frac{\|\phi_k(x) - \phi_k\|^2}{\|\phi_k\|^2} + \lambda_\alpha R_\alpha(x) + \lambda_V R_V(x)

    with :math:`\phi_k(x)` the output of layer k (:class:`~perturbsets.LayerOutputs`), :math:`\phi_k` the one given,
    :math:`R_\alpha` of :func:`alpha_norm` and :math:`R_V` of :func:`total_variation`. Without these two penalties the
    search ends at any of the many images with that representation, most of which are noise.

    Args:
        layers: Names or globs of layers, as for :func:`~perturbsets.layer_names`.
        activation: ``"relu"`` or ``"none"``, as for :class:`~perturbsets.LayerOutputs`.
        alpha: The exponent :math:`\alpha \ge 1`; high ones leave values free within a range and keep them in it.
        alpha_weight: :math:`\lambda_\alpha \ge 0`.
        variation_weight: :math:`\lambda_V \ge 0`: 1 gives sharp and noisy images, 30 smooth ones that are farther off.
        ascent: How to search the box of all images, of radius 0.5 about grey.

    Raises:
        ValueError: If the activation is unknown, or a number is outside its range.

    References:
        Mahendran and Vedaldi, *Understanding deep image representations by inverting them*, 2015, sec. 2.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 30))
        >>> x = torch.rand(2, 3, 2, 2)
        >>> inversion = Inversion("1", activation="none", alpha_weight=0.0, variation_weight=0.0)
        >>> bool((inversion.reconstruct(model, x).images - x).abs().max() < 1e-2)
        True
    """

    layers: str | Sequence[str]
    _: KW_ONLY
    activation: Activation = "relu"
    alpha: float = 6.0
    alpha_weight: float = 0.01
    variation_weight: float = 3.0
    ascent: Ascent = field(default_factory=lambda: ProjectedLBFGS(steps=300))

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, Activation)
        if not 1 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be a finite number of 1 or more, got {self.alpha}: it is an exponent")
        check_weights(alpha_weight=self.alpha_weight, variation_weight=self.variation_weight)

    def __call__(
        self,
        model: nn.Module,
        representations: Mapping[str, Features],
        shape: tuple[int, int, int],
        *,
        generator: torch.Generator | None = None,
    ) -> InversionResult:
        """Inverts representations, by layer as of :class:`~perturbsets.LayerOutputs`, to images of a shape (C, H, W).

        The model is left as it was. The generator draws the first images; by default a fresh one, seeded by the system.

        Raises:
            ValueError: If representations are not those of the layers, are zero or not finite.
        """
        outputs = LayerOutputs(model, self.layers, activation=self.activation)
        if list(representations) != outputs.names:
            got = list(representations)
            raise ValueError(f"representations must be those of the layers {outputs.names}, got {got}")
        first = representations[outputs.names[0]]
        grey = torch.full((len(first), *shape), GREY, dtype=first.dtype, device=first.device)
        adversary = Adversary(PixelBall("linf", GREY), _Preimage(self), self.ascent)
        result = adversary(model, grey, representations, generator=generator)
        with preserve_state(model, grey.device), torch.no_grad():
            loss = _PreimageLoss(self, outputs, representations)
            distances = loss.squared_distance(result.images).sqrt()
        return InversionResult(result.images, distances, result.calls + 1)

    def reconstruct(
        self, model: nn.Module, images: Images, *, generator: torch.Generator | None = None
    ) -> InversionResult:
        """Inverts the representations of images in [0, 1]: shows what the layers preserve of them."""
        with preserve_state(model, images.device), torch.no_grad():
            representations = LayerOutputs(model, self.layers, activation=self.activation)(images)
        channels, height, width = images.shape[1:]
        return self(model, representations, (channels, height, width), generator=generator)


def alpha_norm(images: Images, alpha: float) -> PerImage:
    r"""Mean power of the distances of an image's values from grey.

    .. math:: R_\alpha(x) = \frac{1}{CHW} \sum_i |2 x_i - 1|^\alpha

    It is 1 for black and white pixels, 0 for grey ones.

    Example:
        >>> alpha_norm(torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 2, 2), alpha=2.0)
        tensor([0.5625])
    """
    return (2 * images - 1).abs().pow(alpha).flatten(1).mean(1)


def total_variation(images: Images) -> PerImage:
    r"""Mean squared difference of neighbouring pixels: the total variation of exponent 2.

    .. math:: R_V(x) = \frac{1}{CHW} \sum_{c, i, j} (x_{c, i, j+1} - x_{c, i, j})^2 + (x_{c, i+1, j} - x_{c, i, j})^2

    Pixels beyond the border do not count.

    Example:
        >>> total_variation(torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 2, 2))
        tensor([0.5000])
    """
    squares = (images.diff(dim=axis).square().flatten(1).sum(1) for axis in (2, 3))
    return sum(squares, images.new_zeros(len(images))) / images[:1].numel()


@dataclass(frozen=True)
class _Preimage(Objective):
    """Minus what an inversion minimises, for any set and ascent; labels are representations."""

    inversion: Inversion

    def at(self, model: Model | None, images: Images, labels: Mapping[str, Features]) -> _PreimageLoss:
        assert isinstance(model, nn.Module)
        outputs = LayerOutputs(model, self.inversion.layers, activation=self.inversion.activation)
        for name, wanted in labels.items():
            lengths = wanted.norm(dim=1)
            if len(wanted) != len(images) or not bool(((lengths > 0) & lengths.isfinite()).all()):
                raise ValueError(
                    f"representations at {name!r} must be {len(images)} finite rows, none of them zero, got "
                    f"{len(wanted)}, {int((lengths == 0).sum())} of them zero and {int((~lengths.isfinite()).sum())} "
                    "not finite: take another layer"
                )
        return _PreimageLoss(self.inversion, outputs, labels)


class _PreimageLoss(Loss):
    def __init__(self, inversion: Inversion, outputs: LayerOutputs, wanted: Mapping[str, Features]) -> None:
        self.inversion, self.outputs, self.wanted = inversion, outputs, wanted

    def __call__(self, images: Images, offsets: Offsets) -> tuple[PerImage, Flags]:
        value = self.squared_distance(images)
        value = value + self.inversion.alpha_weight * alpha_norm(images, self.inversion.alpha)
        value = value + self.inversion.variation_weight * total_variation(images)
        return -value, torch.zeros_like(value, dtype=torch.bool)

    def squared_distance(self, images: Images) -> PerImage:
        """Squared distances of representations, relative to the squared lengths of those given."""
        outputs = self.outputs(images)
        shares = []
        for name, wanted in self.wanted.items():
            if wanted.shape[1] != outputs[name].shape[1]:
                raise ValueError(
                    f"representations at {name!r} must have {outputs[name].shape[1]} columns, as the layer has for "
                    f"images {list(images.shape[1:])}, got {wanted.shape[1]}"
                )
            shares.append((outputs[name] - wanted).square().sum(1) / wanted.square().sum(1))
        return torch.stack(shares).mean(0)

    def select(self, rows: Rows) -> _PreimageLoss:
        return _PreimageLoss(self.inversion, self.outputs, {name: each[rows] for name, each in self.wanted.items()})
