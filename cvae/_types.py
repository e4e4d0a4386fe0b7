"""Shapes used throughout the package, named once.

B counts images, C channels, H and W rows and columns, Z latent coordinates, F features.
"""

from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "B C H W"]
Features = Float[Tensor, "B F"]
Latents = Float[Tensor, "B Z"]
Motions = Float[Tensor, "B 6"]
PerImage = Float[Tensor, " B"]
