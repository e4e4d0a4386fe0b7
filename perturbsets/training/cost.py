"""What a training method costs: passes through the classifier and through its auxiliary classifier, per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from perturbsets._types import Samples
from perturbsets.label_states import label_branch
from perturbsets.model_call import given_or_fresh, preserve_state
from perturbsets.printing import Printed
from perturbsets.training.method import Method, Targets


@dataclass(frozen=True)
class Cost(Printed):
    """Passes that one step on a batch takes through the classifier and the auxiliary multi-label one.

    They are means per image, over those of attacks and those of the update.
    """

    classifier_forward: float
    classifier_backward: float
    auxiliary_forward: float
    auxiliary_backward: float

    @property
    def gradients(self) -> float:
        """Backward passes through both."""
        return self.classifier_backward + self.auxiliary_backward


def gradients_per_image(
    method: Method, model: nn.Module, images: Samples, labels: Targets, generator: torch.Generator | None = None
) -> Cost:
    """Counts the passes of one training step on a batch.

    The optimizer takes no step, and the model is left as it was. A method that takes several steps a batch is
    counted with all of them. Where classifier and auxiliary classifier share a body, a pass for both counts as one of
    the classifier's. For attacks that stop on success the count on one batch is an estimate. Labels are what the method
    takes: classes, states, or both.

    Raises:
        ValueError: If there is no image, or as the method.

    Example:
        >>> from perturbsets import AdversarialTraining, Adversary, OneStep, PixelBall
        >>> method = AdversarialTraining(Adversary(PixelBall("linf", 0.1), ascent=OneStep(keep_best=False)))
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> gradients_per_image(method, model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2])).gradients
        2.0
    """
    if not len(images):
        raise ValueError("images must hold at least one, got none: a cost per image is a mean")
    generator = given_or_fresh(generator)
    with (
        _watched(method, model) as (classifier, auxiliary),
        preserve_state(model, images.device, "keep"),
        _gradients_kept(model),
    ):
        for losses, _ in method(model, model, images, labels, generator):
            losses.mean().backward()
            model.zero_grad(set_to_none=True)
    counts = (classifier.forward, classifier.backward, auxiliary().forward, auxiliary().backward)
    return Cost(*(count / len(images) for count in counts))


@dataclass
class _Passes(Printed):
    """Images that went through a module, and those whose gradient came back."""

    forward: int = 0
    backward: int = 0

    def came_back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)


@contextmanager
def _watched(method: Method, model: nn.Module) -> Iterator[tuple[_Passes, Callable[[], _Passes]]]:
    """Counts passes of the classifier; what is yielded second gives those of the auxiliary classifier at the end."""
    with ExitStack() as stack:
        if (branch := label_branch(model)) is None:
            classifier, own = _count(model, stack), _auxiliary_of(method)
            auxiliary = _Passes() if own is None else _count(own, stack)
            yield classifier, lambda: auxiliary
            return
        body, head = model.class_branch  # type: ignore[misc]
        classifier, shared = _count(head, stack), branch[0] is body
        counted = _count(body if shared else branch[1], stack)

        def of_auxiliary() -> _Passes:
            if not shared:
                return counted
            return _Passes(counted.forward - classifier.forward, counted.backward - classifier.backward)

        yield classifier, of_auxiliary


def _auxiliary_of(method: Method) -> nn.Module | None:
    """The frozen auxiliary classifier of a method, or of the method inside it."""
    inside = getattr(method, "method", None)
    return getattr(method, "auxiliary", None) if inside is None else _auxiliary_of(inside)


def _count(module: nn.Module, stack: ExitStack) -> _Passes:
    """Counts the passes of a module, until the stack ends."""
    passes = _Passes()

    def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        images = given[0]
        passes.forward += len(images)
        if images.requires_grad and torch.is_grad_enabled():
            images = images.view_as(images)  # others may use the same tensor
            images.register_hook(passes.came_back)
        return (images, *given[1:])

    def after(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        if not given[0].requires_grad and output.requires_grad:  # the weights alone learn
            output.register_hook(passes.came_back)

    for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
        stack.callback(handle.remove)
    return passes


@contextmanager
def _gradients_kept(model: nn.Module) -> Iterator[None]:
    """Puts gradients of weights aside for the block."""
    kept = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        for parameter, gradient in zip(model.parameters(), kept, strict=True):
            parameter.grad = gradient
