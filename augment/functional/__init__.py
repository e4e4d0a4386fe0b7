"""Changes of images as pure functions: batched, every number an argument, all noise from seeds that are arguments."""

from augment.functional.blur import defocus_blur, gaussian_blur
from augment.functional.colour import brightness, contrast, saturate
from augment.functional.counter import draw_seeds
from augment.functional.elastic import elastic_move, elastic_transform
from augment.functional.fog import fog
from augment.functional.frost import frost, frost_texture
from augment.functional.glass import glass_blur
from augment.functional.jpeg import jpeg_compression
from augment.functional.motion import motion_blur
from augment.functional.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augment.functional.pixelate import pixelate
from augment.functional.snow import snow
from augment.functional.spatial import move_masks, move_points, rotate_translate_scale
from augment.functional.spatter import spatter
from augment.functional.stroke import thicken
from augment.functional.zoom import zoom_blur

__all__ = [
    "brightness",
    "contrast",
    "defocus_blur",
    "draw_seeds",
    "elastic_move",
    "elastic_transform",
    "fog",
    "frost",
    "frost_texture",
    "gaussian_blur",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "move_masks",
    "move_points",
    "pixelate",
    "rotate_translate_scale",
    "saturate",
    "shot_noise",
    "snow",
    "spatter",
    "speckle_noise",
    "thicken",
    "zoom_blur",
]
