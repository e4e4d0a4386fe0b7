"""What a transform needs of a perturbation set: bind it to images, draw offsets, decode them."""

from typing import Protocol, runtime_checkable

import torch

from augment._types import Images, Offsets


@runtime_checkable
class BoundPerturbations(Protocol):
    """A perturbation set bound to a batch of images."""

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Draws one row of offsets per image; from torch's global state where `generator` is None."""

    def decode(self, offsets: Offsets, /) -> Images:
        """The changed image of each row; a function of the bound images and the offsets alone."""


@runtime_checkable
class Perturbations(Protocol):
    r"""A set :math:`S(x) = \{ g(x, u) : u \in B \}` of changed images around each image.

    Any class with this one method fits; it need not inherit from this one.
    """

    def at(self, images: Images, /) -> BoundPerturbations:
        """Binds the set to images in [0, 1]. Cheap: what costs is done by the first `sample` or `decode`."""
