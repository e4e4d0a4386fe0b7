"""Shapes used throughout the package, named once.

B counts images, C channels, H and W rows and columns, Z latent coordinates, F features of a vector, P parameters of a
distribution, N rows. Features are computed from x alone: one tensor, or several, for example one at each scale.
"""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "B C H W"]
FeatureVectors = Float[Tensor, "B F"]
Features = Float[Tensor, "B ..."] | tuple[Float[Tensor, "B ..."], ...]
Latents = Float[Tensor, "B Z"]
Motions = Float[Tensor, "B 6"]
Parameters = Float[Tensor, "B P"]
PerImage = Float[Tensor, " B"]
Rows = Int64[Tensor, " N"]
