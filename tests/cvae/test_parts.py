"""What training reads of data sets of many kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from cvae import FitSettings, LoopSettings, SpatialCVAE, fit, train
from cvae.batches import ROUNDING, Parts, within
from tests.data_sets import Batches, Texts, pictures, rows

SETTINGS = FitSettings(steps=2, batch=4, validate_every=1)
CLEAN = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CHANGED = CLEAN.roll(1, 3)


def fitted(train_pairs: Any, validation_pairs: Any = None, **options: Any) -> tuple[dict[str, Tensor], list[Any]]:
    torch.manual_seed(0)
    model = SpatialCVAE(1, 8, 8, latent=2, hidden=8, features=4, grid=2)
    records = fit(
        model, train_pairs, train_pairs if validation_pairs is None else validation_pairs, SETTINGS, **options
    )
    return model.state_dict(), records


def table(clean: str = "clean", changed: str = "changed") -> list[dict[str, Any]]:
    return rows({changed: pictures(CHANGED), "severity": ["strong"] * 8, clean: pictures(CLEAN)})


def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face datasets")
    return datasets.Dataset.from_dict({"changed": pictures(CHANGED), "note": [None] * 8, "clean": pictures(CLEAN)})


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (table, {}),
        (lambda: table("x", "y"), {"fields": ("x", "y")}),
        (hugging_face, {}),
        (lambda: hugging_face().with_format("torch"), {}),
        (lambda: Batches(changed=CHANGED, clean=CLEAN), {}),
        (lambda: Texts(TensorDataset(CLEAN, CHANGED)), {}),
        (lambda: [(a, b, torch.zeros(n)) for n, (a, b) in enumerate(zip(CLEAN, CHANGED, strict=True))], {}),
    ],
)
def test_fits_of_every_form_are_the_same(make: Any, options: dict[str, Any]) -> None:
    assert_close(fitted(make(), **options), fitted(TensorDataset(CLEAN, CHANGED)), rtol=0, atol=0)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images.float(), r"got \d to 25\d: write image / 255 where 255 is white"),
        (lambda images: (images / 255 - 0.5) / 0.2, r"got -2\.\d+ to 2\.\d+: move a normalisation from the data"),
        (lambda images: images / 255 - 1e-3, r"got -0.001 to 0.99\d+"),
        (lambda images: images.int(), r"got torch.int32: write image.to\(torch.uint8\)"),
    ],
)
def test_pairs_out_of_range_are_refused_by_name(place: int, part: int, change: Any, message: str) -> None:
    sets = [[CLEAN, CHANGED], [CLEAN, CHANGED]]
    sets[place][part] = change(sets[place][part])
    name = ("train_pairs", "validation_pairs")[place]
    with pytest.raises(
        ValueError, match=rf"images of {name} must be torch.uint8, or floating point within \[0, 1\], {message}"
    ):
        fitted(*(TensorDataset(*tensors) for tensors in sets))


def test_pairs_out_of_range_are_refused_whenever_they_come() -> None:
    clean = CLEAN / 255
    clean[5] *= 255
    with pytest.raises(ValueError, match=r"images of validation_pairs must be .* write image / 255"):
        fitted(TensorDataset(CLEAN, CHANGED), TensorDataset(clean, CHANGED / 255))


def test_loaders_and_single_images_are_refused() -> None:
    data = TensorDataset(CLEAN, CHANGED)
    with pytest.raises(
        TypeError, match=r"validation_pairs must be a map-style .* DataLoader: write validation_pairs.dataset"
    ):
        fitted(data, DataLoader(data))
    with pytest.raises(ValueError, match=r"must give items that begin with clean and changed, got \[\[1, 8, 8\]\]"):
        fitted(TensorDataset(CLEAN))
    with pytest.raises(ValueError, match=r"as field 'clean', got no such field beside .*fields=\('b', 'a'\)"):
        fitted(rows({"b": CLEAN, "a": CHANGED, "n": range(8)}))


def test_one_infinite_bound_leaves_the_other_strict() -> None:
    with pytest.raises(ValueError, match=r"within \[0, inf\], got -0.5 to 9"):
        within(torch.tensor([[-0.5, 9.0]]), (0.0, float("inf")), "images")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
def test_rounding_is_clamped_and_more_is_refused(dtype: torch.dtype, bounds: tuple[float, float]) -> None:
    unit = torch.finfo(dtype).eps * max(map(abs, bounds))
    ends, beyond = torch.tensor([bounds], dtype=dtype), torch.tensor([[-1.0, 1.0]], dtype=dtype)
    given = ends + beyond * ROUNDING / 2 * unit
    before = given.clone()

    assert torch.equal(within(given, bounds, "images"), ends)
    assert torch.equal(given, before)
    assert within(ends, bounds, "images") is ends
    for side in range(2):
        outside = ends.clone()
        outside[:, side] += beyond[:, side] * 2 * ROUNDING * unit
        with pytest.raises(ValueError, match=r"images must be torch.uint8, or floating point within \["):
            within(outside, bounds, "images")


def test_parts_stay_what_they_are() -> None:
    """Labels of any kind: a number, a list, an array of which nobody may write."""
    states = torch.tensor([0.0, torch.nan, 1.0]).numpy()
    states.flags.writeable = False
    images, classes, several, unknown = Parts([(CLEAN[0], 3, [0, 1], "a", states)] * 2, None, ("image", "label")).batch(
        torch.arange(2)
    )

    assert torch.equal(images, CLEAN[:1].expand(2, -1, -1, -1))
    assert classes.tolist() == [3, 3]
    assert several.tolist() == [[0, 1]] * 2
    assert_close(unknown, torch.tensor([[0.0, torch.nan, 1.0]]).expand(2, -1), equal_nan=True)


def test_mirrored_arrays_are_images() -> None:
    mirrored = CLEAN[0].numpy()[..., ::-1]
    images, classes = Parts([(mirrored, 3)], None, ("image", "label")).batch(torch.arange(1))

    assert torch.equal(images, CLEAN[:1].flip(3))
    assert classes.tolist() == [3]


def test_items_of_which_some_lack_a_part_are_refused() -> None:
    items = [(CLEAN[0], 3), (CLEAN[1], None)]
    with pytest.raises(ValueError, match="as many numbers in each item, got 1 and 2: leave out items of which a part"):
        Parts(items, None, ("image", "label")).batch(torch.arange(2))


def test_training_carries_what_is_no_tensor_and_names_nan_in_it() -> None:
    """A loss of one's own is handed batches as the data give them."""
    seen: list[Any] = []

    def loss(model: nn.Module, batch: Any, draws: Any) -> Iterator[Mapping[str, Tensor]]:
        seen.append(batch)
        yield {"loss": model(batch["x"]).mean()}

    items = [
        {"x": torch.full((2,), float(n)), "file": {"name": f"{n}.png"}, "parts": ["a", torch.tensor(n)]}
        for n in range(4)
    ]
    train(nn.Linear(2, 1), loss, items, LoopSettings(steps=1, batch=4))
    (batch,) = seen
    numbers = batch["parts"][1].tolist()

    assert sorted(numbers) == [0, 1, 2, 3]
    assert batch["x"][:, 0].tolist() == numbers
    assert batch["file"] == {"name": [f"{n}.png" for n in numbers]}
    items[2]["x"] = torch.full((2,), torch.nan)
    with pytest.raises(FloatingPointError, match="the batch itself holds NaN"):
        train(nn.Linear(2, 1), loss, items, LoopSettings(steps=1, batch=4))


def test_a_table_is_asked_for_rows() -> None:
    """Hugging Face's ``batch`` groups rows by number, and is not ours."""
    data = hugging_face().with_format("torch").remove_columns("note")

    def loss(model: nn.Module, batch: Any, draws: Any) -> Iterator[Mapping[str, Tensor]]:
        yield {"loss": model(batch["clean"].flatten(1).float()).mean()}

    train(nn.Linear(64, 1), loss, data, LoopSettings(steps=1, batch=4))


def test_batches_are_taken_whole_where_a_data_set_gives_them() -> None:
    class Whole(torch.utils.data.Dataset):  # like a pair store: PyTorch's hook for items beside batches of its own
        def __len__(self) -> int:
            return 4

        def __getitems__(self, indices: list[int]) -> list[Any]:
            raise AssertionError("items one by one, where there are batches")

        def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
            return torch.rand(len(indices), 1, 2, 2), indices

    images, labels = Parts(Whole(), None, ("image", "label")).batch(torch.tensor([2, 0]))
    assert images.shape == (2, 1, 2, 2)
    assert labels.tolist() == [2, 0]


def test_grey_images_of_bytes_get_their_channel() -> None:
    data = [(np.full((8, 8), row, dtype=np.uint8), row) for row in range(3)]
    images, labels = Parts(data, None, ("image", "label")).batch(torch.tensor([2, 1]))
    assert images.shape == (2, 1, 8, 8)
    assert labels.tolist() == [2, 1]
