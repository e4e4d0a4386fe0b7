r"""Random numbers as a pure function of a seed and a position.

Number :math:`i` of an image with seed :math:`s` is :math:`h(h(i \oplus k_0) + k_1)`, where :math:`h` mixes 32 bits
and the keys :math:`k_0, k_1` are mixed from the seed and the name of the stream. So a whole field of noise can be made
again from one number per image: on any device, in any batch, in any order.

References:
    Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011, for counters in place of states;
    Wellons, *hash-prospector* (2018), for the constants of the 32-bit mixer; Steele, Lea and Flood, *Fast splittable
    pseudorandom number generators*, 2014, for those of the 64-bit one.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

from augment._types import Parameters, Seeds

HALF_BITS = 24  # of one half of a seed: whole numbers that float32 represents exactly
SEED_NAMES = ("seed_high", "seed_low")


def draw_seeds(count: int, *, generator: torch.Generator | None = None) -> Seeds:
    """Draws a seed per image, on the generator's device; from torch's global state if none is given."""
    device = None if generator is None else generator.device
    return torch.randint(1 << 2 * HALF_BITS, (count,), generator=generator, device=device)


def to_columns(seeds: Seeds) -> Parameters:
    """Seeds as two columns of parameters, their halves.

    Example:
        >>> to_columns(torch.tensor([16777221]))
        tensor([[1., 5.]])
    """
    return torch.stack([seeds >> HALF_BITS, seeds & ((1 << HALF_BITS) - 1)], 1).float()


def from_columns(columns: Parameters) -> Seeds:
    """Seeds from their two columns; the inverse of :func:`to_columns`.

    Raises:
        ValueError: If there are other columns, or other numbers than whole ones of 24 bits.
    """
    halves = (columns == columns.round()) & (columns >= 0) & (columns < 1 << HALF_BITS)
    if columns.shape[1] != len(SEED_NAMES) or not halves.all():
        raise ValueError(f"parameters must be the columns {SEED_NAMES} of whole numbers below 2^24: use `draw`")
    high, low = columns.long().unbind(1)
    return (high << HALF_BITS) + low


def uniform(seeds: Seeds, count: int, stream: str) -> Tensor:
    """Numbers uniform in [0, 1), multiples of 2**-24: float32 of shape ``[B, count]``.

    A stream is named by the use of its numbers; streams of other names are independent.
    """
    return _bits(seeds, count, stream).bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).float().mul_(2**-24)


def normal(seeds: Seeds, count: int, stream: str) -> Tensor:
    r"""Standard normal numbers, at most 5.8 in size, by Box and Muller (1958); otherwise as :func:`uniform`.

    .. math:: z_1 = \sqrt{-2 \ln u_1} \cos 2 \pi u_2, \quad z_2 = \sqrt{-2 \ln u_1} \sin 2 \pi u_2
    """
    half = (count + 1) // 2
    first, second = uniform(seeds, 2 * half, stream).split(half, dim=1)
    size = (1 - first).log_().mul_(-2).sqrt_()
    angle = second * (2 * math.pi)
    return torch.cat([size * angle.cos(), size * angle.sin()], 1)[:, :count]


def _bits(seeds: Seeds, count: int, stream: str) -> Tensor:
    """32 random bits per position."""
    key = _mix64(_mix64(seeds) + zlib.crc32(stream.encode()))
    low, high = key.to(torch.int32)[:, None], (key >> 32).to(torch.int32)[:, None]
    counter = torch.arange(count, dtype=torch.int32, device=seeds.device)
    return _mix32_(_mix32_(counter ^ low).add_(high))


def _mix32_(bits: Tensor) -> Tensor:
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97 - (1 << 32))):
        bits.bitwise_xor_((bits >> shift).bitwise_and_((1 << (32 - shift)) - 1)).mul_(factor)
    return bits.bitwise_xor_((bits >> 15).bitwise_and_((1 << 17) - 1))


def _mix64(bits: Tensor) -> Tensor:
    bits = bits + (0x9E3779B97F4A7C15 - (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9 - (1 << 64)), (27, 0x94D049BB133111EB - (1 << 64))):
        bits = (bits ^ ((bits >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return bits ^ ((bits >> 31) & ((1 << 33) - 1))
