"""Short names of images by what they show, so that the same image is known again in another file."""

from __future__ import annotations

import hashlib

import numpy as np

from augment.store.places import Array


def image_digests(images: Array) -> Array:
    """A number of 64 bits per image: the same for the same pixels in 8 bits, whatever type they are stored in.

    Among a million different images two share a number with a chance of about one in forty million.

    Args:
        images: Images ``[N, ...]`` of uint8, or floating point in [0, 1].

    Returns:
        Numbers ``[N]`` of int64.

    Example:
        >>> white = np.full((2, 1, 4, 4), 255, dtype=np.uint8)
        >>> bool((image_digests(white) == image_digests(white / 255)).all())
        True
    """
    pixels = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    shape = "x".join(map(str, images.shape[1:])).encode()  # a wide image is no tall one
    found = [hashlib.blake2b(image, digest_size=8, key=shape).digest() for image in np.ascontiguousarray(pixels)]
    return np.frombuffer(b"".join(found), dtype="<i8").astype(np.int64)
