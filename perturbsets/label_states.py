"""States of labels, many to an image (1 on, 0 off, NaN unknown), and models of classes and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from perturbsets._types import LabelLogits, Logits, Samples, States
from perturbsets.rows import as_tensor, named_rows


def label_states(labels: Any, count: int, *, each_known: bool = True) -> States:
    """Checks the states of the labels of some images.

    Args:
        labels: States ``[B, L]`` of any type, booleans included: 1 for on, 0 for off, NaN for unknown.
        count: Number of images.
        each_known: Whether one state at least must be known for each image.

    Returns:
        The states, floating; those of a floating type as they came.

    Raises:
        ValueError: If shape or values are others, or all states of an image are unknown.

    Example:
        >>> import torch
        >>> label_states(torch.tensor([[True, False]]), 1)
        tensor([[1., 0.]])
    """
    labels = as_tensor(labels)
    if labels.ndim != 2 or len(labels) != count or not labels.shape[1] or labels.is_complex():
        raise ValueError(
            f"labels must be states [{count}, L], 1 for on, 0 for off, NaN for unknown, got {list(labels.shape)} of "
            f"{labels.dtype}: of a single label write labels[:, None]"
        )
    states = labels if labels.is_floating_point() else labels.float()
    strange = (states != 0) & (states != 1) & ~states.isnan()
    if bool(strange.any()):
        row, label = (int(place) for place in strange.nonzero()[0])
        raise ValueError(
            f"labels must be 0, 1 or NaN, got {float(states[row, label]):g} as label {label} of row {row}, and "
            f"{int(strange.sum()) - 1} more: apply a threshold to intensities first"
        )
    unknown = states.isnan().all(1)
    if each_known and bool(unknown.any()):
        raise ValueError(
            f"labels must have a known state for each image, got none in {named_rows(unknown)}: leave these out"
        )
    return states


def target_labels(states: States, *, hide: Sequence[int] = (), show: Sequence[int] = ()) -> States:
    """Target states, for objectives that are ``targeted``: some labels are hidden, others shown, the rest unchanged.

    Args:
        states: States to begin with, such as a model's own predictions.
        hide: Numbers of the labels to turn off.
        show: Numbers of the labels to turn on.

    Raises:
        ValueError: If a label is outside of the label space, or to be hidden and shown.

    Example:
        >>> import torch
        >>> target_labels(torch.tensor([[1.0, 1.0, 0.0]]), hide=[0], show=[2])
        tensor([[0., 1., 1.]])
    """
    for name, chosen in (("hide", hide), ("show", show)):
        if any(not 0 <= label < states.shape[1] for label in chosen):
            raise ValueError(f"{name} must be labels within 0 and {states.shape[1] - 1}, got {list(chosen)}")
    if both := sorted(set(hide) & set(show)):
        raise ValueError(f"hide and show must name different labels, got {both} in both")
    wanted = states.clone()
    wanted[:, list(hide)] = 0
    wanted[:, list(show)] = 1
    return wanted


def check_label_logits(logits: Tensor, states: States) -> None:
    """Refuses what is not one logit for each label of each image."""
    if not isinstance(logits, Tensor) or logits.shape != states.shape:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"model must return one logit for each label, {list(states.shape)}, got {got}: labels and outputs must be "
            "the same ones in the same order, a single one as [B, 1]"
        )


class DualModel(Protocol):
    """A classifier that holds its auxiliary multi-label classifier, so that both are trained together.

    Called with images alone it gives the logits of classes. Each branch is a body and a head; the body may be shared.
    """

    @property
    def class_branch(self) -> nn.Sequential:
        """Images to logits of classes."""
        ...

    @property
    def label_branch(self) -> nn.Sequential:
        """Images to logits of labels: the auxiliary classifier."""
        ...

    def __call__(
        self, images: Samples, both: bool = False, class_rows: slice = ..., label_rows: slice = ...
    ) -> Logits | tuple[Logits, LabelLogits]:
        """With ``both``, logits of classes for some rows and of labels for some rows, from one pass."""
        ...


def label_branch(model: Any) -> nn.Sequential | None:
    """The auxiliary classifier inside a :class:`DualModel`; ``None`` of any other model."""
    branch: nn.Sequential | None = getattr(model, "label_branch", None)
    return branch
