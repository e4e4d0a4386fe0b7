"""Random states of albumentations in the workers of a data loader: its fault, and the seeds that mend it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
import torchvision.transforms as v1
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from torchvision.transforms import v2

from augment.albumentations import reseed, seed_worker

GREY = np.full((8, 8, 3), 128, "uint8")


def shift() -> A.RandomBrightnessContrast:
    return A.RandomBrightnessContrast(brightness_limit=0.4, contrast_limit=0, p=1.0)


@dataclass
class Greys(Dataset[Tensor]):
    """Grey images by a pipeline, as one number each."""

    pipeline: Any
    length: int = 8

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return torch.as_tensor(self.pipeline(image=GREY.astype("float32") / 255)["image"][0, 0, 0])


def epochs(init: Callable[[int], None] | None, *, count: int = 2, persistent: bool = False, seed: int = 1) -> Tensor:
    """Drawn numbers, a row per epoch; with two workers, even columns are the first one's."""
    torch.manual_seed(seed)
    data = Greys(A.Compose([shift()]))
    data.pipeline.set_random_seed(0)
    loader = DataLoader(data, 1, num_workers=2, worker_init_fn=init, persistent_workers=persistent)
    return torch.stack([torch.cat(list(loader)) for _ in range(count)])


def test_without_seeds_workers_and_epochs_draw_the_same() -> None:
    """The fault of albumentations 2.0.8 for which `seed_worker` is there."""
    drawn = epochs(None)

    assert len(drawn[0, ::2].unique()) == 4
    assert_close(drawn[0, ::2], drawn[0, 1::2], rtol=0, atol=0)
    assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    assert_close(epochs(None, seed=2), drawn, rtol=0, atol=0)


@pytest.mark.parametrize("persistent", [False, True])
def test_with_seeds_all_draws_differ_and_repeat_under_manual_seed(persistent: bool) -> None:
    drawn = epochs(seed_worker, count=3, persistent=persistent)

    assert len(drawn.unique()) == 24
    assert_close(epochs(seed_worker, count=3, persistent=persistent), drawn, rtol=0, atol=0)
    assert not torch.isin(epochs(seed_worker, seed=2), drawn).any()


def test_the_generator_of_the_loader_decides_too() -> None:
    def once() -> Tensor:
        generator = torch.Generator().manual_seed(3)
        data = Greys(A.Compose([shift()]))
        return torch.cat(list(DataLoader(data, 1, num_workers=2, worker_init_fn=seed_worker, generator=generator)))

    assert_close(once(), once(), rtol=0, atol=0)


def test_without_workers_the_draws_repeat_under_manual_seed() -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        data = Greys(A.Compose([shift()]))
        reseed(data)
        return torch.stack([data[index] for index in range(8)])

    assert len(drawn(1).unique()) == 8
    assert_close(drawn(1), drawn(1), rtol=0, atol=0)
    assert not torch.isin(drawn(2), drawn(1)).any()


PIPELINE = A.Compose([shift()])


def by_global(image: np.ndarray) -> np.ndarray:
    return PIPELINE(image=image)["image"]


class OfClass(Dataset[int]):
    """A data set whose pipeline belongs to its class."""

    pipeline = A.Compose([shift()])


class InMethod(Dataset[int]):
    """A data set with a method that uses a global pipeline."""

    def __getitem__(self, index: int) -> Any:
        return by_global(GREY)


def enclosed() -> Callable[[np.ndarray], np.ndarray]:
    pipeline = A.Compose([shift()])
    return lambda image: pipeline(image=image)["image"]


class Applied(torch.nn.Module):
    """A layer around a pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = A.Compose([shift()])

    def method(self, image: np.ndarray) -> np.ndarray:
        return self.pipeline(image=image)["image"]


def circle() -> list[Any]:
    holder: list[Any] = [PIPELINE]
    holder.append(holder)
    return holder


HOLDERS: dict[str, tuple[Callable[[], Any], int]] = {
    "attribute": (lambda: Greys(A.Compose([shift()])), 1),
    "several attributes": (lambda: Greys({"weak": A.Compose([shift()]), "strong": [A.OneOf([shift()])]}), 2),
    "the same twice": (lambda: [PIPELINE, (PIPELINE,)], 1),
    "subset": (lambda: Subset(Greys(A.Compose([shift()])), [0]), 1),
    "concatenation": (lambda: ConcatDataset([Greys(A.Compose([shift()])), Greys(A.Compose([]))]), 2),
    "subset of a concatenation": (lambda: Subset(ConcatDataset([Greys(A.Compose([shift()]))]), [0]), 1),
    "torchvision v1": (lambda: Greys(v1.Compose([v1.ToTensor(), v1.Lambda(enclosed())])), 1),
    "torchvision v2": (lambda: Greys(v2.Compose([v2.RandomApply([Applied()]), v2.Lambda(enclosed())])), 2),
    "partial": (lambda: partial(PIPELINE, mask=None), 1),
    "method": (lambda: Applied().method, 1),
    "function": (lambda: by_global, 1),
    "class": (OfClass, 1),
    "method of the class": (InMethod, 1),
    "lone transform": (lambda: Greys(shift()), 1),
    "inside itself": (circle, 1),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_pipelines_are_found_wherever_they_are(name: str) -> None:
    make, count = HOLDERS[name]

    assert reseed(make(), 1) == count


def test_transforms_of_a_composition_draw_apart() -> None:
    first, second = shift(), shift()
    inner = A.OneOf([second])
    other = A.Compose([shift()])
    reseed([A.Compose([first, inner]), other], 4)

    numbers = [states.py_random.random() for states in (first, second, other.transforms[0], other)]
    arrays = [states.random_generator.random() for states in (first, second, other.transforms[0])]

    assert len(set(numbers)) == 4
    assert len(set(arrays)) == 3


def test_seeds_leave_global_states_alone() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    reseed(PIPELINE, 1)

    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_nothing_found_is_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"found no albumentations pipeline in list"):
        assert reseed([1, "two"], 1) == 0


def test_outside_of_a_worker_the_other_function_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"without workers call `reseed\(dataset\)`"):
        seed_worker(0)
