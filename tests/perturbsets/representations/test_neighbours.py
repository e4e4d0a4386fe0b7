from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.testing import assert_close

from augment import Digits
from perturbsets import SmallConvNet
from perturbsets.layer_outputs import LayerOutputs
from perturbsets.representations import Block, MemoryBank, nearest_neighbours, write_bank
from tests.perturbsets.representations.random_images import RandomImages


def in_blocks(reference: Tensor, size: int, generator: torch.Generator | None = None) -> Iterator[Block]:
    """The reference in blocks, shuffled where a generator is given."""
    count = len(reference)
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    return (Block(rows, reference[rows]) for rows in order.split(size))


def brute_force(distances: Tensor, count: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows and distances from the whole matrix."""
    if exclude is not None:
        distances = distances.clone()
        for query, row in enumerate(exclude.tolist()):
            if row >= 0:
                distances[query, row] = torch.inf
    rows = distances.argsort(dim=1, stable=True)[:, :count]
    return rows, distances.gather(1, rows)


@pytest.mark.parametrize("size", [1, 7, 64, 300])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_are_those_of_the_whole_matrix(size: int, metric: str, generator: torch.Generator) -> None:
    reference, queries = (torch.randn(count, 13, generator=generator) for count in (300, 20))
    exclude = torch.randint(-1, 300, (20,), generator=generator)
    directions = [torch.nn.functional.normalize(points.double(), dim=1) for points in (queries, reference)]
    whole = (
        (queries.double()[:, None] - reference.double()).square().sum(2).sqrt()
        if metric == "euclidean"
        else 1 - directions[0] @ directions[1].T
    )

    found = nearest_neighbours(queries, in_blocks(reference, size), 12, metric=metric, exclude=exclude)

    rows, distances = brute_force(whole, 12, exclude)
    assert torch.equal(found.rows, rows)
    assert_close(found.distances, distances.float(), rtol=1e-6, atol=1e-7)
    assert found.distances.dtype == torch.float32


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 12),
    size=st.sampled_from([1, 2, 7, 40, 1000]),
    width=st.integers(1, 4),
    offset=st.sampled_from([0, 3, 2**20]),
)
def test_of_equally_near_rows_the_lower_one_comes_first(
    seed: int, count: int, size: int, width: int, offset: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randint(3, (60, width), generator=generator) + offset  # whole numbers: exact, and full of ties
    queries = torch.randint(3, (5, width), generator=generator) + offset
    exclude = torch.randint(-1, 60, (5,), generator=generator)
    squares = (queries[:, None] - reference).square().sum(2).double()

    found = nearest_neighbours(queries.double(), in_blocks(reference.double(), size, generator), count, exclude=exclude)

    rows, expected = brute_force(squares, count, exclude)
    assert torch.equal(found.rows, rows)
    assert_close(found.distances, expected.sqrt(), rtol=1e-12, atol=0.0)


@given(seed=st.integers(0, 2**31), size=st.sampled_from([1, 7, 1000]))
def test_multiples_of_a_row_tie_in_cosine_distance(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 0.0]])
    which = torch.randint(3, (40,), generator=generator)
    reference = directions[which] * torch.randint(1, 9, (40, 1), generator=generator)

    found = nearest_neighbours(directions[:1], in_blocks(reference, size, generator), 30, metric="cosine")

    cosines = torch.tensor([1.0, 0.8, 5**-0.5], dtype=torch.float64)
    rows, distances = brute_force((1 - cosines[which])[None], 30)
    assert torch.equal(found.rows, rows)
    assert_close(found.distances, distances.float(), rtol=1e-6, atol=1e-15)
    assert bool((found.distances[0, : int((which == 0).sum())] == 0).all())


def test_copies_far_from_the_origin_are_at_distance_zero(generator: torch.Generator) -> None:
    point = 1e4 + torch.randn(1, 512, generator=generator)
    reference = torch.cat([point + 1e-3, point.expand(50, -1), point + 2e-3])

    for size in (1, 7, 100):
        found = nearest_neighbours(point, in_blocks(reference, size), 50)

        assert found.rows.tolist() == [list(range(1, 51))]
        assert bool((found.distances == 0).all())


def test_rows_that_differ_by_less_than_rounding_of_products_are_ordered_exactly(generator: torch.Generator) -> None:
    steps = torch.randperm(200, generator=generator).double()
    reference = torch.full((200, 8), 1e7, dtype=torch.float64)
    reference[:, 0] += 1e-4 * steps  # squares of differences are below the rounding of squared norms

    for size in (16, 200):
        found = nearest_neighbours(torch.full((1, 8), 1e7, dtype=torch.float64), in_blocks(reference, size), 5)

        assert torch.equal(found.rows[0], steps.argsort()[:5])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_of_digits_are_those_of_scikit_learn(metric: str) -> None:
    digits = Digits("test")
    with torch.no_grad():
        outputs = LayerOutputs(SmallConvNet().eval(), "*")(digits.images)
    for features in outputs.values():
        theirs = NearestNeighbors(n_neighbors=6, algorithm="brute", metric=metric).fit(features.double().numpy())
        distances, rows = theirs.kneighbors()  # leaves out the row itself

        bank = MemoryBank({"it": features}, digits.labels)
        found = nearest_neighbours(features, bank.blocks("it", size=37), 6, metric=metric, exclude=torch.arange(300))

        # scikit-learn loses digits of near neighbours to cancellation.
        assert_close(found.distances.double(), torch.from_numpy(distances), rtol=1e-5, atol=1e-6)
        assert (found.rows == torch.from_numpy(rows)).double().mean() > 0.99  # a few distances are equal up to rounding


def test_the_nearest_of_handwritten_digits_mostly_have_their_label(root: Path, tmp_path: Path) -> None:
    folder = root.parent / "shared" / "data" / "mnist" / "MNIST" / "raw"
    if not folder.is_dir():
        pytest.skip(f"needs MNIST's files in {folder}")

    def read(name: str, header: int, count: int, width: int) -> Tensor:
        content = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
        return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header, count=count * width)

    pixels, queries = (
        read(f"{part}-images-idx3", 16, count, 784).view(count, 784).float() / 255
        for part, count in (("train", 20_000), ("t10k", 1000))
    )
    labels, expected = (
        read(f"{part}-labels-idx1", 8, count, 1).long() for part, count in (("train", 20_000), ("t10k", 1000))
    )
    bank = MemoryBank({"pixels": pixels}, labels)

    found = nearest_neighbours(queries, bank.blocks("pixels"), 1)

    # Found before with other code: 93.9 % of the first 1,000 test images, by the first 20,000 training images.
    assert (labels[found.rows[:, 0]] == expected).double().mean() == 0.939


def test_nothing_is_excluded_by_rows_that_are_not_there(generator: torch.Generator) -> None:
    reference = torch.randn(30, 4, generator=generator)

    plain = nearest_neighbours(reference, reference, 3)

    for exclude in (torch.full((30,), -1), torch.full((30,), 999)):
        same = nearest_neighbours(reference, reference, 3, exclude=exclude)
        assert torch.equal(same.rows, plain.rows)
        assert torch.equal(same.distances, plain.distances)
    assert torch.equal(plain.rows[:, 0], torch.arange(30))


def test_rows_are_those_of_the_blocks() -> None:
    blocks = [
        Block(torch.tensor([900, 17]), torch.tensor([[5.0], [1.0]])),
        Block(torch.tensor([3]), torch.tensor([[1.0]])),
    ]

    found = nearest_neighbours(torch.tensor([[0.0]]), blocks, 3)

    assert found.rows.tolist() == [[3, 17, 900]]


def test_zeros_have_cosine_distance_one_from_everything(generator: torch.Generator) -> None:
    reference = torch.tensor([[0.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [0.0, 0.0]])

    found = nearest_neighbours(torch.tensor([[2.0, 0.0]]), reference, 4, metric="cosine")

    assert found.rows.tolist() == [[1, 0, 3, 2]]
    assert_close(found.distances, torch.tensor([[1 - 1.01**-0.5, 1.0, 1.0, 2.0]]), rtol=1e-6, atol=1e-7)


def test_sizes_of_features_do_not_change_their_cosine(generator: torch.Generator) -> None:
    reference = torch.rand(40, 5, generator=generator, dtype=torch.float64)
    plain = nearest_neighbours(reference[:3], reference, 9, metric="cosine")

    for scale in (2.0**-900, 2.0**900):
        scaled = nearest_neighbours(reference[:3] * scale, reference * scale, 9, metric="cosine")
        assert torch.equal(scaled.rows, plain.rows)
        assert torch.equal(scaled.distances, plain.distances)


def test_no_queries_have_no_neighbours() -> None:
    found = nearest_neighbours(torch.zeros(0, 3), torch.rand(9, 3), 2)

    assert found.rows.shape == found.distances.shape == (0, 2)


def test_queries_are_not_written_to(generator: torch.Generator) -> None:
    queries, reference = torch.randn(4, 3, generator=generator), torch.randn(9, 3, generator=generator)
    before = queries.clone(), reference.clone()

    nearest_neighbours(queries.requires_grad_(), reference, 2, metric="cosine")

    assert torch.equal(queries, before[0])
    assert torch.equal(reference, before[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 10}, "at least 10 rows beside excluded ones, got 9 in all"),
        ({"count": 9, "exclude": torch.tensor([-1, 4])}, "at least 9 rows beside excluded ones, got 9"),
        ({"count": 0}, "count must be at least 1"),
        ({"metric": "cosine", "queries": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}, r"zeros in row 1: "),
        ({"queries": torch.tensor([[1.0, 0.0], [torch.nan, 0.0]])}, "queries must be finite, .* in row 1"),
        ({"blocks": torch.tensor([[1.0, 0.0], [torch.inf, 0.0]])}, "blocks must be finite, .* in row 1"),
        ({"exclude": torch.tensor([1])}, "exclude must give a row for each of 2 queries"),
        ({"blocks": [Block(torch.arange(3), torch.rand(3, 5))]}, "blocks must have 2 features as queries have, got 5"),
    ],
)
def test_what_cannot_be_searched_is_refused(changed: dict[str, object], message: str) -> None:
    given = {"queries": torch.rand(2, 2), "blocks": torch.rand(9, 2), "count": 2} | changed

    with pytest.raises(ValueError, match=message):
        nearest_neighbours(**given)  # type: ignore[arg-type]


def resident(what: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_a_search_in_a_large_file_holds_no_more_than_a_block(tmp_path: Path, generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    bank = write_bank(tmp_path / "bank.h5", model, "0", RandomImages(200_000), batch=20_000)
    queries = torch.rand(256, 64, generator=generator)
    nearest_neighbours(queries, torch.rand(9, 64, generator=generator), 3)  # imports what it needs
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")

    found = nearest_neighbours(queries, bank.blocks("0"), 10)

    # All distances take 410 MB, the bank in double precision 102 MB.
    assert resident("VmHWM") - before < 16_000_000
    whole = torch.cdist(queries[:8].double(), bank.features("0", torch.arange(200_000)).double())
    assert_close(found.distances[:8].double(), whole.topk(10, largest=False).values, rtol=1e-6, atol=0.0)
