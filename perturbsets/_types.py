"""Shapes used throughout the package, named once.

B counts images, C channels, H and W rows and columns, Z offset coordinates, K classes, L labels, N draws. Attacks
take samples of any shape after the batch; sets of pictures take images.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Model = Callable[..., Any]
"""A network, or anything else that takes samples and returns logits or what an objective needs."""

Images = Float[Tensor, "B C H W"]
Samples = Float[Tensor, "B *shape"]
Offsets = Float[Tensor, "B Z"]
Logits = Float[Tensor, "B K"]
PerImage = Float[Tensor, " B"]
OneOrEach = float | Sequence[Any] | PerImage
"""A number for all images, or one for each; :func:`~perturbsets.rows.set_per_image` checks what a sequence holds."""
LogWeights = Float[Tensor, "N B"]
"""One number per draw and image, mostly a logarithm of a density or weight."""
Draws = Float[Tensor, "N B Z"]
"""Several offsets per image."""
Flags = Bool[Tensor, " B"]
Labels = Int64[Tensor, " B"]
Classes = Int64[Tensor, "B *place"]
"""Class numbers: one per image, or one per pixel of it (a label map)."""
States = Float[Tensor, "B L"]
"""States of L labels of each image: 1 on, 0 off, NaN unknown."""
LabelLogits = Float[Tensor, "B L"]
"""A logit for each label of each image; the label is on where it is above 0."""
PerLabel = Float[Tensor, " L"]
Rows = Int64[Tensor, " N"]
