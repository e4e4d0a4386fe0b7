"""A CVAE for changes of any kind on small colour images."""

from __future__ import annotations

from typing import Literal

from cvae.blocks import check_sizes
from cvae.latent_maps import LatentLayout
from cvae.linear_injection import linear_networks
from cvae.model import CVAE
from cvae.pyramid import halved, pyramid

Injection = Literal["maps", "linear"]
SCALES = 3


class ResidualCVAE(CVAE):
    r"""A CVAE of residual networks, for changes of any kind: blur, noise, weather, digital faults.

    With ``injection="maps"`` the latent is a vector for the whole image (brightness, contrast, strength of a blur) and
    maps for its places at a half, a quarter and an eighth of its size (texture, flakes, fog), each of which meets
    x's own features at its scale. The generator changes x and starts at "nothing changed".

    With ``injection="linear"`` linear layers over full-size maps read and spread the latent, and the generator draws
    the image anew. ``ResidualCVAE(latent=512, hidden=64, blocks=4, injection="linear")`` has depth, widths and latent
    of the paper's model of CIFAR-10 corruptions; group normalisation stands in for batch normalisation, so that
    training and attacks see the same network.

    Args:
        channels: Image channels C, at least 1.
        height: Image rows H, at least 8.
        width: Image columns W, at least 8.
        latent: Latent coordinates Z, at least 1.
        hidden: Channels of the feature maps at the finest scale; each coarser one has twice as many. The default is
            for minutes on a CPU; on a GPU take 32 or more, and a larger latent.
        blocks: Residual blocks at each scale (in each network for ``"linear"``).
        injection: How the latent enters: ``"maps"`` or ``"linear"``.
        maps: For ``"maps"``, latent channels at each of the three scales, fine to coarse; what they leave of the
            latent acts on the whole image. If not given, each map takes what fits into half of what is left.
        filters: For ``"maps"``, number of 5x5 filters whose views of x the generator blends.
        likelihood: ``"gaussian"`` or ``"bernoulli"``.

    Raises:
        ValueError: If a size is too small, the latent cannot be shared out as asked, or the injection or likelihood
            is unknown.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, and its public release
        (4 blocks of 64 and 16 channels, latent 512).

    Example:
        >>> import torch
        >>> model = ResidualCVAE()
        >>> x = torch.rand(2, 3, 32, 32)
        >>> torch.equal(model.decode(x, torch.randn(2, 128)), x)  # untrained: nothing changes
        True
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 32,
        width: int = 32,
        latent: int = 128,
        hidden: int = 8,
        blocks: int = 1,
        injection: Injection = "maps",
        maps: tuple[int, ...] | None = None,
        filters: int = 4,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(height, width, channels=channels, latent=latent, hidden=hidden, blocks=blocks, filters=filters)
        size = (height, width)
        if injection == "linear":
            if maps is not None:
                raise ValueError(f'maps must be left out with injection="linear", got {maps}')
            networks = linear_networks(channels, size, latent=latent, hidden=hidden, blocks=blocks)
        elif injection == "maps":
            networks = pyramid(
                channels,
                tuple(hidden * 2**scale for scale in range(SCALES)),
                blocks=blocks,
                filters=filters,
                layout=LatentLayout.divide(latent, halved(size, SCALES), maps),
                likelihood=likelihood,
            )
        else:
            raise ValueError(f'injection must be "maps" or "linear", got {injection!r}')
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
