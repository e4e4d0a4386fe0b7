from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from cvae import DiagonalGaussian, ResidualCVAE, UNetCVAE
from cvae.networks.blocks import LatentHeads, LatentLayout
from cvae.networks.pyramid import halved
from tests.cvae.every_model import awake


@given(
    latent=st.integers(1, 3000),
    height=st.integers(8, 300),
    width=st.integers(8, 300),
    scales=st.integers(1, 6),
)
def test_every_coordinate_has_one_place(latent: int, height: int, width: int, scales: int) -> None:
    sizes = halved((height, width), scales)
    layout = LatentLayout.divide(latent, sizes)
    vector, maps = layout.split(torch.arange(latent).float()[None])

    assert torch.equal(torch.cat([vector, *(part.flatten(1) for part in maps.values())], 1)[0], torch.arange(latent))
    assert all(maps[scale].shape[2:] == sizes[scale] for scale in maps)
    assert layout.vector * 2**scales >= latent  # each map takes at most half of what is left


@given(size=st.integers(8, 300), scales=st.integers(1, 6))
def test_sizes_are_those_of_convolutions_with_stride_2(size: int, scales: int) -> None:
    maps, found = torch.zeros(1, 1, size, 8), []
    for _ in range(scales):
        maps = torch.nn.functional.conv2d(maps, torch.zeros(1, 1, 3, 3), stride=2, padding=1)
        found.append(tuple(maps.shape[2:]))

    assert halved((size, 8), scales) == found


def test_heads_write_means_and_scales_where_the_layout_reads_them() -> None:
    layout = LatentLayout(5, ((2, 6, 4), (0, 3, 2), (1, 2, 1)))
    heads = LatentHeads((4, 4, 8), layout)
    numbers = iter(range(100))
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.zero_()
        for head in (heads.whole, *heads.places.values()):
            head[-1].bias.copy_(torch.tensor([next(numbers) / 10 for _ in head[-1].bias]))
    features = tuple(torch.randn(1, width, *shape[1:]) for width, shape in zip((4, 4, 8), layout.maps, strict=True))
    gaussian = DiagonalGaussian.from_features(heads(features))
    mean, log_scale = layout.split(gaussian.mean), layout.split(7 * (gaussian.log_scale / 7).atanh())

    # Each head's biases are numbered: first those of its means, then those of its log-scales.
    assert_close(mean[0][0], torch.arange(0, 5) / 10)
    assert_close(log_scale[0][0], torch.arange(5, 10) / 10)
    assert_close(mean[1][0], (torch.tensor([10, 11]) / 10).view(1, 2, 1, 1).expand(1, 2, 6, 4))
    assert_close(log_scale[1][0], (torch.tensor([12, 13]) / 10).view(1, 2, 1, 1).expand(1, 2, 6, 4))
    assert_close(mean[1][2], torch.full((1, 1, 2, 1), 1.4))
    assert_close(log_scale[1][2], torch.full((1, 1, 2, 1), 1.5))
    assert set(mean[1]) == {0, 2}


@pytest.mark.parametrize("kind", [ResidualCVAE, UNetCVAE])
def test_a_coordinate_of_a_map_acts_most_at_its_place(kind: type[ResidualCVAE | UNetCVAE]) -> None:
    model = awake(kind(1, 64, 64, latent=3000))
    layout = model._generator.layout
    x = torch.full((1, 1, 64, 64), 0.5)
    for scale in layout.mapped[:3]:
        channels, rows, columns = layout.maps[scale]
        change = torch.zeros(channels, rows, columns)
        change[:, rows // 4, columns // 4] = 3.0
        before = layout.vector + sum(prod(layout.maps[finer]) for finer in layout.mapped if finer < scale)
        z = torch.zeros(1, 3000)
        z[0, before : before + change.numel()] = change.flatten()
        reach = (model.decode(x, z) - model.decode(x, torch.zeros_like(z))).abs()[0, 0]

        assert reach[:32, :32].mean() > 2 * reach[32:, 32:].mean(), scale


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent": 448, "maps": (1, 2, 4)}, r"latent must be above the 448 .*\(1x16x16 \+ 2x8x8 \+ 4x4x4\).*got 448"),
        ({"maps": (1, 2)}, r"maps must hold 3 numbers .*16x16, 8x8, 4x4, got \(1, 2\)"),
        ({"maps": (1, -1, 2)}, "maps must hold 3 numbers of channels, 0 or more"),
        ({"injection": "linear", "maps": (1, 2, 4)}, 'maps must be left out with injection="linear"'),
    ],
)
def test_latents_that_cannot_be_shared_out_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResidualCVAE(**arguments)  # type: ignore[arg-type]


def test_unknown_injection_is_refused() -> None:
    # The type checker that watches the tests refuses it before the package can.
    with pytest.raises((ValueError, TypeError), match="injection"):
        ResidualCVAE(injection="attention")  # type: ignore[arg-type]


def test_paper_shape_has_the_size_of_its_release() -> None:
    # Linear heads of 16 x 32 x 32 features to twice 512 coordinates for prior and for recognition, and back to 32 x 32.
    model = ResidualCVAE(latent=512, hidden=64, blocks=4, injection="linear")
    linear = {name: tensor.numel() for name, tensor in model.state_dict().items() if tensor.ndim == 2}

    assert sorted(linear.values()) == [512 * 32 * 32, 16_777_216, 16_777_216]
    assert sum(tensor.ndim == 4 for tensor in model._recognition.state_dict().values()) == 2 + 4 * 2
