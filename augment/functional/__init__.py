"""Changes of images as pure functions: batched, differentiable, every number an argument."""

from augment.functional.spatial import rotate_translate_scale

__all__ = ["rotate_translate_scale"]
