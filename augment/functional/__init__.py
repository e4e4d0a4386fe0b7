"""Corruptions and spatial changes of image batches as pure functions.

Corruptions take images ``[B, C, H, W]`` of at least 8x8 pixels, ``uint8`` or floating point in [0, 1]; any number of
channels, or 1 or 3 where "grey or colour images" is written. They return images of the same shape and type, clipped to
[0, 1]. Each setting is one number, or a tensor of one number per image. All noise follows from ``seeds``, one int64
number per image (:func:`draw_seeds`): the same seeds give the same result on any device and in any batch.

They raise ``ValueError`` if images have another shape, type or range, if a setting is out of its range or neither one
number nor one per image, or if seeds are not one int64 number per image.
"""

from augment.functional.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from augment.functional.colour import brightness, contrast, saturate
from augment.functional.counter import draw_seeds
from augment.functional.digital import jpeg_compression, pixelate
from augment.functional.elastic import elastic_move, elastic_transform
from augment.functional.frost import frost, frost_texture
from augment.functional.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augment.functional.spatial import move_masks, move_points, rotate_translate_scale
from augment.functional.spatter import spatter
from augment.functional.stroke import thicken
from augment.functional.weather import fog, snow
