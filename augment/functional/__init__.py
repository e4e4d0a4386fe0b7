"""Changes of images as pure functions: batched, every number an argument, all noise from seeds that are arguments."""

from augment.functional.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from augment.functional.colour import brightness, contrast, saturate
from augment.functional.counter import draw_seeds
from augment.functional.digital import jpeg_compression, pixelate
from augment.functional.elastic import elastic_move, elastic_transform
from augment.functional.fog import fog
from augment.functional.frost import frost, frost_texture
from augment.functional.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from augment.functional.snow import snow
from augment.functional.spatial import move_masks, move_points, rotate_translate_scale
from augment.functional.spatter import spatter
from augment.functional.stroke import thicken
