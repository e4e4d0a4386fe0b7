from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from cvae.likelihood import HALF_GREY_LEVEL, add, add_logits

X = torch.tensor([0.0, 0.0, 0.3, 1.0, 1.0], dtype=torch.float64)
R = torch.tensor([-0.5, 0.2, 0.1, 0.2, -0.4], dtype=torch.float64)
TARGET = torch.tensor([0.4, 0.2, 0.0, 0.7, 1.0], dtype=torch.float64)


def test_sum_is_cut_and_its_gradient_is_not() -> None:
    r = R.clone().requires_grad_()
    found = add(X, r)

    assert_close(found, (X + R).clamp(0, 1), rtol=0, atol=0)
    assert_close(torch.autograd.grad(found.sum(), r)[0], torch.ones(5, dtype=torch.float64))
    assert torch.equal(add(X, torch.zeros_like(X)), X)


def test_sum_pulls_cut_pixels_back_to_a_target_inside() -> None:
    r = R.clone().requires_grad_()
    error = 0.5 * (add(X, r) - TARGET).square().sum()

    assert_close(torch.autograd.grad(error, r)[0], (X + R).clamp(0, 1) - TARGET)


def test_sum_has_second_derivatives() -> None:
    r = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    x = torch.full((3,), 0.5, dtype=torch.float64)

    assert torch.autograd.gradgradcheck(lambda change: add(x, change).square(), r)


def test_gradient_of_the_cross_entropy_through_logits_is_the_difference() -> None:
    r = (4 * R).requires_grad_()
    found = add_logits(X, r)
    loss = F.binary_cross_entropy(found, TARGET, reduction="sum")

    assert_close(torch.autograd.grad(loss, r)[0], found.detach() - TARGET)
    assert (add_logits(X, torch.zeros_like(X)) - X).abs().max() <= HALF_GREY_LEVEL * 1.001
