"""Shapes and dtypes that the package's signatures share.

B counts images (or pairs), C channels, H and W pixels, Z offsets of a perturbation set, P parameters of a
change, L labels of an image. The space in ``" B"`` keeps linters from reading a lone letter as a name.
"""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "B C H W"]
"""Float images; pixels in [0, 1]."""

PerImage = Float[Tensor, " B"]
"""One number per image."""

Parameters = Float[Tensor, "B P"]
"""Parameters of a change, one row per image."""

Offsets = Float[Tensor, "B Z"]
"""Points of a perturbation set, one row per image."""

Labels = Int64[Tensor, " B"]
"""Class numbers; -1 where there is none."""

States = Float[Tensor, "B L"]
"""States of L labels of each image: 1 on, 0 off, NaN unknown."""

Indices = Int64[Tensor, " B"]
"""Positions in a data set."""

Seeds = Int64[Tensor, " B"]
"""One whole number per image, from 0 to 2**48 - 1, from which all its noise is made."""
