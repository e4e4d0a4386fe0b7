"""Changes of images as pure functions: batched, every number an argument, all noise from seeds that are arguments."""

from augment.functional.colour import brightness, contrast, saturate
from augment.functional.counter import draw_seeds
from augment.functional.elastic import elastic_move, elastic_transform
from augment.functional.fog import fog
from augment.functional.frost import frost, frost_texture
from augment.functional.noise import gaussian_noise
from augment.functional.snow import snow
from augment.functional.spatial import rotate_translate_scale
from augment.functional.spatter import spatter

__all__ = [
    "brightness",
    "contrast",
    "draw_seeds",
    "elastic_move",
    "elastic_transform",
    "fog",
    "frost",
    "frost_texture",
    "gaussian_noise",
    "rotate_translate_scale",
    "saturate",
    "snow",
    "spatter",
]
