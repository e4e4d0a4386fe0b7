"""Changes of images as pure functions: batched, every number an argument, all noise from seeds that are arguments."""

from augment.functional.counter import draw_seeds
from augment.functional.noise import gaussian_noise
from augment.functional.spatial import move_masks, move_points, rotate_translate_scale

__all__ = ["draw_seeds", "gaussian_noise", "move_masks", "move_points", "rotate_translate_scale"]
