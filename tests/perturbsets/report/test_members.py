from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from perturbsets import LatentBall
from perturbsets.report.set_pictures import compare, draw_samples, pick_pairs, principal_directions, walk


@pytest.fixture
def learned(linear_cvae: Any) -> LatentBall:
    along = torch.tensor([[0.6, 0.8]])
    bank = torch.linspace(-2, 2, 41)[:, None] * along + 0.1 * torch.randn(41, 2)
    return LatentBall(linear_cvae(), 2.0, bank=bank)


@pytest.fixture
def pairs(memory_pairs: Any) -> Any:
    clean = torch.rand(30, 1, 2, 3).repeat_interleave(3, 0)
    return memory_pairs(clean, (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1), torch.arange(90) // 3)


def test_shown_pairs_are_of_different_sources_and_chosen_by_the_generator(pairs: Any) -> None:
    first, again, other = (pick_pairs(pairs, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert len(first[0]) == 10
    assert len(first[0].flatten(1).unique(dim=0)) == 10
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_the_nearest_member_is_at_least_as_near_as_the_encoding(learned: LatentBall, pairs: Any) -> None:
    clean, changed = pick_pairs(pairs, torch.Generator().manual_seed(0))
    rows = {row.label: row.images for row in compare(learned, clean, changed).rows}
    error = {name: (rows[name] - changed).square().flatten(1).mean(1) for name in ("at the encoding", "nearest member")}

    assert (error["nearest member"] <= error["at the encoding"] + 1e-7).all()
    assert_close(rows["|nearest − x̃|"], (rows["nearest member"] - changed).abs())
    assert torch.equal(rows["clean x"], clean)
    assert torch.equal(rows["changed x̃"], changed)


@pytest.mark.parametrize("with_bank", [True, False])
def test_samples_are_members_of_the_set(learned: LatentBall, pairs: Any, with_bank: bool) -> None:
    if not with_bank:
        learned = LatentBall(learned.model, learned.radius)
    clean, _ = pick_pairs(pairs, torch.Generator().manual_seed(0))
    grid = draw_samples(learned, clean, torch.Generator().manual_seed(3))

    assert len(grid.groups) == 2 + with_bank
    for number, row in enumerate(grid.rows):
        assert len(row.images) == sum(group.columns for group in grid.groups)
        assert_close(row.images[0], clean[number])
        # The generator is linear with orthogonal columns, so that offsets can be read off.
        model = learned.model
        rest = (row.images[1:] - clean[number]).flatten(1) - model.prior(model.context(clean[number, None])).mean @ (
            model._generator.basis.T
        )
        basis = 0.5 * model._generator.basis
        u = rest @ basis / basis.square().sum(0)
        assert (u.norm(dim=1) <= 2 + 1e-4).all()


def test_the_walk_goes_from_rim_to_rim(learned: LatentBall) -> None:
    clean = torch.rand(3, 1, 2, 3)
    grid = walk(learned, clean)
    basis, _ = principal_directions(learned)

    assert len(grid.rows) == 2
    for row, direction in zip(grid.rows, basis, strict=True):
        for place, length in ((0, -2.0), (4, 0.0), (8, 2.0)):
            expected = learned.model.decode(clean[:1], length * direction[None])
            assert_close(row.images[place], expected[0].detach())


def test_principal_directions_are_where_the_bank_varies(learned: LatentBall) -> None:
    basis, shares = principal_directions(learned)

    assert_close(basis @ basis.T, torch.eye(2), atol=1e-5, rtol=0)
    assert abs(basis[0] @ torch.tensor([0.6, 0.8])) > 0.99
    assert shares[0] > 0.95
    assert_close(shares.sum(), torch.tensor(1.0))
    covariance = learned.bank.T.cov() if learned.bank is not None else torch.eye(2)
    assert_close(shares, torch.linalg.eigvalsh(covariance).flip(0) / covariance.trace(), atol=1e-5, rtol=1e-4)


def test_without_a_bank_directions_are_the_axes(learned: LatentBall) -> None:
    basis, shares = principal_directions(LatentBall(learned.model, 1.0))

    assert torch.equal(basis, torch.eye(2))
    assert_close(shares, torch.full((2,), 0.5))
