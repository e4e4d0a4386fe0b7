"""A CVAE for changes of any kind on large images."""

from __future__ import annotations

from cvae.blocks import check_sizes
from cvae.latent_maps import LatentLayout
from cvae.model import CVAE
from cvae.pyramid import halved, pyramid

WIDEST = 4
"""The widest feature maps have this many times the channels of the finest."""


class UNetCVAE(CVAE):
    r"""A CVAE whose generator is a U-Net around x, for photographs of any size: light, weather, cameras.

    All layers but those of the whole-image vector are convolutions, so memory grows with the number of pixels. The
    vector is read off, and spread onto, a grid of at most 4x4 cells; maps for places stand only at the scales that are
    coarse enough for the latent.

    Args:
        channels: Image channels C, at least 1.
        height: Image rows H, at least 8; any number, odd ones too.
        width: Image columns W, at least 8; any number, odd ones too.
        latent: Latent coordinates Z, at least 1.
        hidden: Channels of the feature maps at half the image's size; coarser ones have twice and four times as many.
        scales: How often the image is halved, at least 1.
        blocks: Residual blocks at each scale.
        maps: Latent channels at each scale, fine to coarse; what they leave of the latent acts on the whole image.
            If not given, each map takes what fits into half of what is left.
        filters: Number of 5x5 filters whose views of x the generator blends.
        likelihood: ``"gaussian"`` or ``"bernoulli"``.

    Raises:
        ValueError: If a size is too small, the latent cannot be shared out as asked, or the likelihood is unknown.

    References:
        Ronneberger et al., *U-Net: convolutional networks for biomedical image segmentation*, 2015; Wong and Kolter,
        *Learning perturbation sets for robust machine learning*, 2020, and its public release (five scales and 256
        latent coordinates for multi-illumination photographs).

    Example:
        >>> import torch
        >>> model = UNetCVAE(3, 125, 187)
        >>> x = torch.rand(1, 3, 125, 187)
        >>> torch.equal(model.decode(x, torch.randn(1, 256)), x)  # untrained: nothing changes
        True
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 125,
        width: int = 187,
        latent: int = 256,
        hidden: int = 16,
        scales: int = 5,
        blocks: int = 1,
        maps: tuple[int, ...] | None = None,
        filters: int = 4,
        likelihood: str = "gaussian",
    ) -> None:
        check_sizes(
            height,
            width,
            channels=channels,
            latent=latent,
            hidden=hidden,
            scales=scales,
            blocks=blocks,
            filters=filters,
        )
        networks = pyramid(
            channels,
            tuple(hidden * min(2**scale, WIDEST) for scale in range(scales)),
            blocks=blocks,
            filters=filters,
            layout=LatentLayout.divide(latent, halved((height, width), scales), maps),
            likelihood=likelihood,
        )
        super().__init__(networks, latent=latent, shape=(channels, height, width), likelihood=likelihood)
