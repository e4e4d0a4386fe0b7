from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from perturbsets.representations import MemoryBank, neighbourhoods


def fan(count: int) -> Tensor:
    """Directions that turn away from the first axis step by step, of various lengths."""
    angles = torch.arange(count) * 0.01
    return torch.stack([angles.cos(), angles.sin()], 1) * (1 + torch.arange(count)[:, None] % 5)


@pytest.fixture
def bank(generator: torch.Generator) -> tuple[MemoryBank, Tensor]:
    """A fan in random order, and where in the bank its directions are."""
    order = torch.randperm(60, generator=generator)
    place = order.argsort()
    return MemoryBank({"fc": fan(60)[order]}, torch.zeros(60, dtype=torch.int64)), place


def test_neighbourhoods_are_those_of_a_fan(bank: tuple[MemoryBank, Tensor], generator: torch.Generator) -> None:
    rows, place = bank
    guides, own = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([-1, int(place[0])])

    around = neighbourhoods(guides, rows, "fc", exclude=own, generator=generator)

    steps = [place.argsort()[part] for part in around]  # how far along the fan each row is
    assert [tuple(part.shape) for part in steps] == [(2, 15), (2, 5), (2, 10)]
    for guide, first in enumerate((0, 1)):  # the second leaves out the direction that is its own
        near = torch.cat([steps[0][guide], steps[1][guide]]).sort().values
        assert near.tolist() == list(range(first, first + 20))
        assert steps[2][guide].tolist() == list(range(first + 40, first + 50))
    assert all(bool((part.diff(dim=1) > 0).all()) for part in steps)  # nearest first
    assert rows.features("fc", around.far).shape == (2, 10, 2)


def test_the_draw_is_uniform_and_the_generator_s(bank: tuple[MemoryBank, Tensor]) -> None:
    guides = torch.tensor([[1.0, 0.3]]).expand(2000, -1)

    first, again, other = (
        neighbourhoods(guides, bank[0], "fc", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )

    assert torch.equal(first.reference, again.reference)
    assert not torch.equal(first.reference, other.reference)
    counts = Counter(first.close.flatten().tolist())
    assert len(counts) == 20
    # Each of the 20 is left out of the reference a quarter of the time: 500 of 2000, deviation 19.4.
    assert max(abs(count - 500) for count in counts.values()) < 5 * 19.4


def test_other_numbers_are_taken(bank: tuple[MemoryBank, Tensor]) -> None:
    around = neighbourhoods(torch.rand(3, 2), bank[0], "fc", count=4, reference=1, far=(5, 5), metric="euclidean")

    assert [tuple(rows.shape) for rows in around] == [(3, 1), (3, 3), (3, 1)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reference": 20}, "reference must be from 1 to count - 1 = 19, got 20"),
        ({"reference": 0}, "reference must be from 1"),
        ({"far": (20, 30)}, r"both beyond count = 20, got \(20, 30\)"),
        ({"far": (50, 41)}, "far must give two numbers in order"),
        ({"far": (41, 61)}, "at least 61 images for neighbours 41 to 61, got 60"),
        ({"guides": torch.zeros(1, 2)}, r"zeros in row 0: "),
    ],
)
def test_what_does_not_fit_is_refused(
    bank: tuple[MemoryBank, Tensor], changed: dict[str, object], message: str
) -> None:
    given = {"guides": torch.rand(1, 2), "bank": bank[0], "layer": "fc"} | changed

    with pytest.raises(ValueError, match=message):
        neighbourhoods(**given)  # type: ignore[arg-type]


def test_the_guide_itself_is_not_at_hand() -> None:
    bank = MemoryBank({"fc": fan(50)}, torch.zeros(50, dtype=torch.int64))

    with pytest.raises(ValueError, match="at least 50 rows beside excluded ones, got 50 in all"):
        neighbourhoods(fan(1), bank, "fc", exclude=torch.tensor([0]))
