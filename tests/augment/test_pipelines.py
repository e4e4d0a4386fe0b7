"""Pipelines in data loaders: three libraries, with and without workers; draws differ, and repeat under a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
import torchvision.transforms as v1
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

import augment.albumentations
from augment import Corruption, Mixture, RandomCorruption, SpatialChange
from augment.albumentations import reseed, seed_worker

IMAGES, EPOCHS = 6, 2
GREY = np.full((8, 8, 3), 128, "uint8")


def by_v1() -> Callable[[np.ndarray], Tensor]:
    return v1.Compose([v1.ToPILImage(), Corruption("gaussian_noise", 5), v1.ToTensor()])


def by_v2() -> Callable[[np.ndarray], Tensor]:
    noise = Corruption("gaussian_noise", 5)
    return v2.Compose([v2.ToImage(), v2.RandomApply([noise], p=1.0), v2.ToDtype(torch.float32, scale=True)])


@dataclass
class ByAlbumentations:
    """A pipeline that gives a tensor."""

    pipeline: A.Compose

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(self.pipeline(image=image)["image"]).permute(2, 0, 1) / 255


def by_albumentations() -> Callable[[np.ndarray], Tensor]:
    return ByAlbumentations(A.Compose([augment.albumentations.Corruption("gaussian_noise", 5, p=1.0)]))


@dataclass
class Greys(Dataset[dict[str, Tensor]]):
    """Grey images, changed by each of several pipelines."""

    pipelines: dict[str, Callable[[np.ndarray], Tensor]]

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {world: change(GREY) for world, change in self.pipelines.items()}


WORLDS = {"v1": by_v1, "v2": by_v2, "albumentations": by_albumentations}
LOADERS: dict[str, dict[str, Any]] = {
    "no workers": {},
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "fork, persistent": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
    "spawn, persistent": {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
}


@cache  # all worlds share the same workers
def drawn(loader: str, seed: int, times: int) -> dict[str, Tensor]:
    """All images of all epochs by each world; of two workers the first makes those of even number."""
    how = LOADERS[loader]
    torch.manual_seed(seed)
    data = Greys({world: make() for world, make in WORLDS.items()})
    if not how:
        reseed(data)
    batches = DataLoader(data, batch_size=1, worker_init_fn=seed_worker if how else None, **how)
    made = [batch for _ in range(EPOCHS) for batch in batches]
    return {world: torch.cat([batch[world] for batch in made]) for world in WORLDS}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("loader", LOADERS)
def test_draws_differ_between_workers_epochs_and_images_and_repeat(world: str, loader: str) -> None:
    first = drawn(loader, seed=1, times=1)[world]
    # A spawned worker imports torch for seconds: it is started once, and gives what a forked one gives.
    again = drawn("fork, persistent", 1, 1)[world] if "spawn" in loader else drawn(loader, seed=1, times=2)[world]

    assert first.shape == (IMAGES * EPOCHS, 3, 8, 8)
    assert len(first.unique(dim=0)) == IMAGES * EPOCHS
    assert_close(again, first, rtol=0, atol=0)
    if "spawn" not in loader:  # the other loaders say it
        other = drawn(loader, seed=2, times=1)[world]
        assert len(torch.cat([first, other]).unique(dim=0)) == 2 * IMAGES * EPOCHS


CHANGES: dict[str, Callable[[], Any]] = {
    "spatial": SpatialChange,
    "corruption": lambda: Corruption("gaussian_noise"),
    "random corruption": lambda: RandomCorruption(["gaussian_noise"]),
    "mixture": lambda: Mixture([SpatialChange(), Corruption("gaussian_noise")]),
}
PIPELINES: dict[str, Callable[[Any], Any]] = {
    "v1 Compose": lambda change: v1.Compose([v1.RandomHorizontalFlip(), change]),
    "v1 RandomApply": lambda change: v1.RandomApply([change], p=1.0),
    "v2 Compose": lambda change: v2.Compose([change, v2.RandomHorizontalFlip()]),
    "v2 RandomApply": lambda change: v2.RandomApply([change], p=1.0),
    "v2 RandomChoice": lambda change: v2.RandomChoice([change, change]),
    "v2 RandomOrder": lambda change: v2.RandomOrder([change, v2.RandomHorizontalFlip()]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_stands_in_every_pipeline_of_torchvision(change: str, pipeline: str) -> None:
    made = PIPELINES[pipeline](CHANGES[change]())
    image = Image.fromarray((np.random.default_rng(0).random((9, 8, 3)) * 255).astype("uint8"))

    torch.manual_seed(1)
    first, second = made(image), made(image)
    torch.manual_seed(1)
    again = made(image)

    assert isinstance(first, Image.Image)
    assert (first.mode, first.size) == (image.mode, image.size)
    assert first.tobytes() == again.tobytes()
    assert len({image.tobytes(), first.tobytes(), second.tobytes()}) == 3


def test_random_apply_leaves_some_samples_alone() -> None:
    made = v2.RandomApply([Corruption("gaussian_noise", 5)], p=0.5)
    image = tv_tensors.Image(torch.full((3, 8, 8), 0.5))

    changed = [not torch.equal(made(image), image) for _ in range(40)]

    assert 8 < sum(changed) < 32


@pytest.mark.parametrize("workers", [0, 2])
def test_after_collate_the_batch_is_changed_at_once(workers: int) -> None:
    data = [(torch.full((3, 8, 8), 128, dtype=torch.uint8), label) for label in range(8)]
    change = RandomCorruption(["gaussian_noise"], return_parameters=True)

    def collate(samples: list[Any]) -> Any:
        return change(default_collate(samples))

    loader = DataLoader(data, batch_size=4, collate_fn=collate, num_workers=workers)  # type: ignore[arg-type]
    batches = list(loader)
    images = torch.cat([images for (images, _), _ in batches])
    rows = torch.cat([rows for _, rows in batches])

    assert images.dtype == torch.uint8
    assert len(images.unique(dim=0)) == len(rows.unique(dim=0)) == 8
    assert torch.cat([labels for (_, labels), _ in batches]).tolist() == list(range(8))
    clean = torch.stack([image for image, _ in data])
    assert_close(change.replay(clean, rows), images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("change", CHANGES)
def test_after_collate_on_a_gpu_a_replay_agrees_with_the_cpu(change: str) -> None:
    made, images = CHANGES[change](), torch.rand(4, 3, 16, 16)
    changed = made(images.cuda())

    assert changed.is_cuda
    assert_close(changed.cpu(), made.replay(images, made.parameters.cpu()), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # newer torch calls scripting deprecated
@pytest.mark.parametrize("change", CHANGES)
def test_scripting_is_refused_by_torchvision(change: str) -> None:
    with pytest.raises(RuntimeError, match="cannot be JIT scripted"):
        torch.jit.script(CHANGES[change]())
