"""Exact nearest neighbours, searched block by block, and neighbourhoods of guides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from perturbsets._types import Labels, Rows
from perturbsets.representations.bank import Bank, Block, block_rows, not_finite
from perturbsets.rows import batches, check_choice, named_rows

Metric = Literal["euclidean", "cosine"]
SPARE = 8  # candidates beyond those wanted, so that a few ties need no second search
PART = 1 << 22  # distances, or features of compared pairs, held at a time
FROM_DIFFERENCES = "donot_use_mm_for_euclid_dist"


class Neighbours(NamedTuple):
    """Rows and distances of nearest neighbours, nearest first; of equally near ones the lower row first."""

    rows: Int64[Tensor, "B K"]
    distances: Float[Tensor, "B K"]


def nearest_neighbours(
    queries: Float[Tensor, "B D"],
    blocks: Float[Tensor, "_ D"] | Iterable[Block],
    count: int,
    *,
    metric: Metric = "euclidean",
    exclude: Rows | None = None,
) -> Neighbours:
    r"""The nearest rows of a bank or matrix, searched block by block.

    .. math:: d(x, y) = \|x - y\|_2 \quad\text{or}\quad 1 - \frac{\langle x, y\rangle}{\|x\|_2 \|y\|_2}

    scikit-learn's brute-force search finds candidates in each block. Their distances are then computed in double
    precision from differences; where rounding could have hidden a row as near as the last candidate, those of the whole
    block are. So the result is exact, the same for any size and order of blocks, and costs little more than the
    candidates.

    Args:
        queries: Features whose neighbours are wanted, on any device; the search is on the CPU.
        blocks: The rows searched: ``bank.blocks(layer)``, or one matrix. Each row may come once.
        count: Number of neighbours, at least 1.
        metric: The distance. A row of zeros has the cosine distance 1 from everything.
        exclude: A row per query that does not count, such as the query itself; -1 for none.

    Raises:
        ValueError: If there are too few rows, features do not fit together or are not finite, or a query is zero with
            ``metric="cosine"``.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
        >>> nearest = nearest_neighbours(line[:2], line, 2, exclude=torch.tensor([0, -1]))
        >>> nearest.rows.tolist(), nearest.distances.tolist()
        ([[1, 2], [1, 0]], [[1.0, 2.0], [0.0, 1.0]])
    """
    check_choice("metric", metric, Metric)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if exclude is not None and exclude.shape != queries.shape[:1]:
        raise ValueError(f"exclude must give a row for each of {len(queries)} queries, got {list(exclude.shape)}")
    points = _embedded(queries, metric, "queries")
    if metric == "cosine" and bool((dead := points[:, -1] != 0).any()):
        raise ValueError(
            f"queries must have a direction to have a cosine, got zeros in {named_rows(dead)}: take "
            'metric="euclidean", or another layer'
        )
    left_out = torch.full((len(points),), -1) if exclude is None else exclude.cpu()
    search = _Search(points, left_out, count)
    seen = 0
    if isinstance(blocks, Tensor):
        size = block_rows(blocks.shape[1])
        blocks = map(Block, batches(blocks, size), blocks.split(size))
    for rows, features in blocks:
        if features.shape[1] != queries.shape[1]:
            raise ValueError(f"blocks must have {queries.shape[1]} features as queries have, got {features.shape[1]}")
        search.add(rows.cpu(), _embedded(features, metric, "blocks"))
        seen += len(rows)
    rows, distances = search.best
    if not bool(distances.isfinite().all()):
        raise ValueError(
            f"blocks must hold at least {count} rows beside excluded ones, got {seen} in all: ask for fewer "
            "neighbours, or search among more images"
        )
    if metric == "cosine":
        distances = distances.square() / 2  # of unit vectors
    return Neighbours(
        rows.to(queries.device), distances.to(queries.device, torch.promote_types(queries.dtype, torch.float32))
    )


class _Search:
    """The nearest rows among the blocks seen so far."""

    def __init__(self, queries: Float[Tensor, "B D"], left_out: Labels, count: int) -> None:
        self.queries, self.left_out, self.count = queries, left_out, count
        shape = (len(queries), count)
        self.best = Neighbours(torch.full(shape, -1), torch.full(shape, torch.inf, dtype=torch.float64))

    def add(self, rows: Labels, block: Float[Tensor, "N D"]) -> None:
        """Searches a block: candidates first, then all of it for queries with too few candidates."""
        if not len(rows) or not len(self.queries):
            return
        wanted = min(len(rows), self.count + 1 + SPARE)
        squares, places = _candidates(self.queries, block, wanted)
        error = _rounding(self.queries, block)
        near = squares <= (self._farthest().square() + error)[:, None]
        exact = torch.full_like(squares, torch.inf)
        exact[near] = _pair_distances(self.queries, near.nonzero()[:, 0], block, places[near])
        before, every = self.best, torch.arange(len(self.queries))
        self.best = self._joined(before, every, rows[places], exact)
        if wanted == len(rows):
            return
        doubtful = (squares[:, -1] <= self._farthest().square() + error).nonzero()[:, 0]
        for some in doubtful.split(max(1, PART // len(rows))):
            exact = torch.cdist(self.queries[some], block, compute_mode=FROM_DIFFERENCES)
            joined = self._joined(before, some, rows.expand(len(some), -1), exact)
            self.best.rows[some], self.best.distances[some] = joined

    def _farthest(self) -> Tensor:
        return self.best.distances[:, -1]

    def _joined(self, best: Neighbours, some: Tensor, rows: Tensor, distances: Tensor) -> Neighbours:
        """The nearest of the best so far and others, for some queries."""
        distances = distances.masked_fill(rows == self.left_out[some, None], torch.inf)
        rows, distances = torch.cat([best.rows[some], rows], 1), torch.cat([best.distances[some], distances], 1)
        by_row = rows.argsort(1)
        nearest = distances.gather(1, by_row).argsort(dim=1, stable=True)[:, : self.count]
        chosen = by_row.gather(1, nearest)
        return Neighbours(rows.gather(1, chosen), distances.gather(1, chosen))


def _candidates(queries: Tensor, block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances, up to rounding, and positions of the nearest rows of a block."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute", metric="sqeuclidean").fit(block.numpy())
    squares, places = search.kneighbors(queries.numpy())
    return torch.from_numpy(squares), torch.from_numpy(places)


def _rounding(queries: Tensor, block: Tensor) -> Tensor:
    """Largest error of a squared distance computed from norms and products, per query."""
    width = queries.shape[1]
    return 4 * (width + 8) * torch.finfo(torch.float64).eps * (queries.norm(dim=1) + block.norm(dim=1).max()).square()


def _pair_distances(queries: Tensor, which: Tensor, block: Tensor, places: Tensor) -> Tensor:
    """Distances of chosen pairs, computed from differences."""
    most = max(1, PART // queries.shape[1])
    parts = [
        torch.cdist(queries[query][:, None], block[place][:, None], compute_mode=FROM_DIFFERENCES)
        for query, place in zip(which.split(most), places.split(most), strict=True)
    ]
    return torch.cat(parts).flatten()


def _embedded(features: Tensor, metric: Metric, name: str) -> Float[Tensor, "N D"]:
    """Points whose Euclidean distances are in the order of the metric.

    For the cosine these are vectors of length 1, whose squared distance is twice the cosine's; zeros become the unit
    vector of an additional coordinate, orthogonal to all others.
    """
    if (bad := not_finite(features)) is not None:
        raise ValueError(f"{name} must be finite, got NaN or infinity in row {bad}: look at the network and its inputs")
    values = features.detach().cpu().double()
    if metric == "euclidean":
        return values.contiguous()
    if features.dtype == torch.float64:  # whose squares may overflow or underflow
        largest = values.abs().amax(1, keepdim=True)
        values = values / largest.where(largest > 0, 1)
    norms = values.norm(dim=1, keepdim=True)
    directions = values.new_empty(len(values), values.shape[1] + 1)
    torch.div(values, norms.where(norms > 0, 1), out=directions[:, :-1])
    directions[:, -1:] = norms == 0
    return directions


class Neighbourhood(NamedTuple):
    """Rows of a bank around each guide, nearest first; ``bank.features(layer, rows)`` gives their features.

    Models of the neighbourhood are fitted to the reference; the close ones, as near, are held out.
    """

    reference: Int64[Tensor, "B R"]
    close: Int64[Tensor, "B K"]
    far: Int64[Tensor, "B F"]


def neighbourhoods(
    guides: Float[Tensor, "B D"],
    bank: Bank,
    layer: str,
    *,
    count: int = 20,
    reference: int = 15,
    far: tuple[int, int] = (41, 50),
    metric: Metric = "cosine",
    exclude: Rows | None = None,
    generator: torch.Generator | None = None,
) -> Neighbourhood:
    r"""Splits the nearest neighbours of each guide at random into a reference and held-out ones, and adds far ones.

    .. math:: N_{\text{ref}} \cup N_c = \{n_1(g), \dots, n_{20}(g)\}, \qquad N_f = \{n_{41}(g), \dots, n_{50}(g)\}

    Args:
        guides: Features of the guides.
        bank: The natural images, of all classes.
        layer: Layer of the bank from which the guides' features come.
        count: Number of nearest neighbours that are split.
        reference: How many of these are drawn for the reference, from 1 to ``count - 1``.
        far: First and last of the far ones, counted from 1; beyond `count`.
        metric: The distance of the search.
        exclude: A row of the bank per guide that does not count, its own; -1 for none.
        generator: For the draw.

    Raises:
        ValueError: If numbers do not fit together, the bank has too few rows (fewer than 50 beside the guide), or a
            guide is all zero with ``metric="cosine"``.

    References:
        Sabour et al., *Adversarial manipulation of deep representations*, 2016, sec. 3.

    Example:
        >>> from perturbsets.representations import MemoryBank
        >>> bank = MemoryBank({"fc": torch.rand(60, 8)}, torch.zeros(60).long())
        >>> around = neighbourhoods(torch.rand(2, 8), bank, "fc")
        >>> [tuple(rows.shape) for rows in around], tuple(bank.features("fc", around.far).shape)
        ([(2, 15), (2, 5), (2, 10)], (2, 10, 8))
    """
    if not 1 <= reference < count:
        raise ValueError(f"reference must be from 1 to count - 1 = {count - 1}, got {reference}")
    if not count < far[0] <= far[1]:
        raise ValueError(f"far must give two numbers in order, both beyond count = {count}, got {far}")
    if len(bank) < far[1]:
        raise ValueError(
            f"bank must hold at least {far[1]} images for neighbours {far[0]} to {far[1]}, got {len(bank)}: "
            "write a bank of more images, or give smaller count, reference and far"
        )
    rows = nearest_neighbours(guides, bank.blocks(layer), far[1], metric=metric, exclude=exclude).rows
    device = "cpu" if generator is None else generator.device
    order = torch.rand(len(guides), count, generator=generator, device=device).argsort(1).to(rows.device)
    drawn, rest = (part.sort(1).values for part in (order[:, :reference], order[:, reference:]))
    return Neighbourhood(rows.gather(1, drawn), rows.gather(1, rest), rows[:, far[0] - 1 : far[1]].contiguous())
