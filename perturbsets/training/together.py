"""Clean and changed images in one pass."""

from __future__ import annotations

import torch

from perturbsets._types import Labels, Logits, Samples
from perturbsets.model_call import class_logits
from perturbsets.objectives.classification import check_logits
from perturbsets.training.method import Classifier


def together(model: Classifier, clean: Samples, changed: Samples, labels: Labels) -> tuple[Logits, Logits]:
    """Logits of the clean images and of the changed ones, from one pass over all of them.

    One pass is all that wrappers for several processes allow before a backward pass, and a normalisation over the
    batch then sees both kinds at once.

    Args:
        model: From samples to logits.
        clean: Clean images.
        changed: The same images, changed.
        labels: Their classes.

    Raises:
        ValueError: If labels or logits are not as they must be.
    """
    logits = class_logits(model, torch.cat([clean, changed]))
    check_logits(logits, labels.repeat(2))
    return logits[: len(clean)], logits[len(clean) :]
