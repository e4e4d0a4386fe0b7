"""Shapes and dtypes that the package's signatures share.

B counts images (or pairs), C channels, H and W pixels, Z offsets of a perturbation set, P parameters of a
change, L labels of an image. The space in ``" B"`` keeps linters from reading a lone letter as a name.
"""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "B C H W"]  # pixels in [0, 1]
PerImage = Float[Tensor, " B"]
Parameters = Float[Tensor, "B P"]
Offsets = Float[Tensor, "B Z"]
Labels = Int64[Tensor, " B"]  # class numbers; -1 where there is none
States = Float[Tensor, "B L"]  # of labels: 1 on, 0 off, NaN unknown
Indices = Int64[Tensor, " B"]  # positions in a data set
Seeds = Int64[Tensor, " B"]  # whole numbers from 0 to 2**48 - 1, from which all noise is made
