"""Random draws from a perturbation set as a torchvision transform."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from augment._types import Images, Offsets
from augment.transform import ImageTransform


@runtime_checkable
class BoundPerturbations(Protocol):
    """A perturbation set bound to a batch of images."""

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Draws one row of offsets per image; from torch's global state if `generator` is None."""

    def decode(self, offsets: Offsets, /) -> Images:
        """The changed image of each row: a deterministic function of the bound images and the offsets."""


@runtime_checkable
class Perturbations(Protocol):
    r"""A set :math:`S(x) = \{ g(x, u) : u \in B \}` of changed images around each image.

    Any class with this one method fits; it need not inherit from this one.
    """

    def at(self, images: Images, /) -> BoundPerturbations:
        """Binds the set to images in [0, 1]; expensive computations wait for the first `sample` or `decode`."""


class Perturb(ImageTransform):
    """Replaces each image by a random draw from its perturbation set.

    Takes the samples that :class:`augment.ImageTransform` takes. The set is no submodule, so ``train()`` of a
    surrounding module does not change the mode of its network.

    Args:
        perturbations: The set: anything that can be bound to images, draw offsets and decode them.
        moves_pixels: Whether the set may move pixels. If so, masks, boxes and key points are refused; if not, they pass
            through.
        generator: For the draws, as for :class:`augment.ImageTransform`.
        return_parameters: Whether to return ``(sample, offsets)``.

    Raises:
        TypeError: If ``perturbations`` cannot be bound to images.

    Example:
        >>> class Darker:  # any class with at, sample and decode
        ...     def at(self, images):
        ...         self.images = images
        ...         return self
        ...     def sample(self, *, generator=None):
        ...         return torch.rand(len(self.images), 1, generator=generator)
        ...     def decode(self, offsets):
        ...         return self.images * offsets[:, :, None, None]
        >>> Perturb(Darker())({"image": torch.ones(3, 8, 8), "label": 7})["label"]
        7
    """

    def __init__(
        self,
        perturbations: Perturbations,
        *,
        moves_pixels: bool = True,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
    ) -> None:
        super().__init__(moves_pixels=moves_pixels, generator=generator, return_parameters=return_parameters)
        if not hasattr(perturbations, "at"):
            raise TypeError(
                f"perturbations must have a method `at(images)`, got {type(perturbations).__name__}: "
                "`perturbsets.load(path)` gives a learned set"
            )
        self._held = (perturbations,)  # in a tuple, which nn.Module does not register

    @property
    def perturbations(self) -> Perturbations:
        """The set."""
        return self._held[0]

    def rows(self, images: Images, generator: torch.Generator | None) -> Offsets:
        return self.perturbations.at(images).sample(generator=generator)

    def change(self, images: Images, rows: Offsets) -> Images:
        return self.perturbations.at(images).decode(rows.to(images))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{type(self.perturbations).__name__}, moves_pixels={self.moves_pixels}"
