"""Chains of transforms mixed by random weights."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close
from torchvision import tv_tensors
from torchvision.transforms import v2

from augment import Corruption, Mixture, Perturb, RandomCorruption, SpatialChange

NOISE = ["gaussian_noise"]


@dataclass
class Constant:
    """A set of one's own: every image becomes one of a drawn grey."""

    width: int = 1

    def at(self, images: Tensor) -> Constant:
        self.images = images
        return self

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(len(self.images), self.width, generator=generator)

    def decode(self, offsets: Tensor) -> Tensor:
        return offsets[:, :1, None, None].expand_as(self.images)


def constant(width: int = 1) -> Perturb:
    return Perturb(Constant(width), moves_pixels=False)


def test_an_image_is_the_weighted_sum_of_its_chains(generator: torch.Generator) -> None:
    noise = Corruption("gaussian_noise", 5)
    mixture = Mixture([noise, [SpatialChange(), noise], constant(3)], generator=generator)
    images = torch.rand(5, 3, 8, 8)

    mixed = mixture(images)
    kept, weights = mixture.parameters[:, 0], mixture.parameters[:, 1:4]
    first, moved, then, last = mixture.parameters[:, 4:].split([2, 4, 2, 3], 1)
    turned = SpatialChange().apply(images, moved).clamp(0, 1)
    chains = [noise.apply(images, first), noise.apply(turned, then), last[:, :1, None, None].expand_as(images)]
    total = sum(weight[:, None, None, None] * chain for weight, chain in zip(weights.unbind(1), chains, strict=True))

    share = kept[:, None, None, None]
    assert_close(mixed, share * images + (1 - share) * total, atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_weights_are_dirichlet_and_the_share_beta(alpha: float, generator: torch.Generator) -> None:
    mixture = Mixture([constant(), constant(), constant()], alpha=alpha)
    rows = mixture.rows(torch.zeros(4000, 1, 2, 2), generator).double()

    assert_close(rows[:, 1:4].sum(1), torch.ones(4000).double(), atol=1e-6, rtol=0)
    assert stats.kstest(rows[:, 0].numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01
    for column in (1, 2, 3):  # each weight of a Dirichlet distribution is a beta variable
        assert stats.kstest(rows[:, column].numpy(), stats.beta(alpha, 2 * alpha).cdf).pvalue > 0.01


def test_draws_differ_repeat_and_replay() -> None:
    def make() -> Mixture:
        generator = torch.Generator().manual_seed(4)
        return Mixture(
            [[RandomCorruption(NOISE), RandomCorruption(NOISE)], RandomCorruption(NOISE), constant()],
            generator=generator,
        )

    mixture, images = make(), torch.rand(6, 3, 16, 16)
    mixed = mixture(images)

    assert len(mixture.parameters[:, 0].unique()) == 6
    assert_close(make()(images), mixed, rtol=0, atol=0)
    assert_close(mixture.replay(images, mixture.parameters), mixed, rtol=0, atol=0)
    assert_close(pickle.loads(pickle.dumps(make()))(images), mixed, rtol=0, atol=0)
    alone = torch.cat([mixture.replay(images[i : i + 1], mixture.parameters[i : i + 1]) for i in range(6)])
    assert_close(alone, mixed, atol=1e-6, rtol=0)


def test_global_state_is_left_where_it_was_by_replay() -> None:
    mixture, images = Mixture([constant(), RandomCorruption(NOISE)]), torch.rand(2, 1, 8, 8)
    mixture(images)
    torch.manual_seed(0)
    mixture.replay(images, mixture.parameters)

    assert torch.initial_seed() == 0
    assert_close(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))


def test_stands_in_a_pipeline_and_keeps_types() -> None:
    pipeline = v2.Compose([Mixture([Corruption("gaussian_noise"), constant()]), v2.RandomHorizontalFlip()])
    sample = {"image": tv_tensors.Image((torch.rand(3, 9, 9) * 255).byte()), "mask": tv_tensors.Mask(torch.ones(9, 9))}

    changed = pipeline(sample)

    assert changed["image"].dtype == torch.uint8
    assert_close(changed["mask"], sample["mask"])


def test_masks_are_refused_where_a_chain_moves_pixels() -> None:
    sample = (torch.rand(3, 9, 9), tv_tensors.Mask(torch.ones(9, 9)))

    with pytest.raises(ValueError, match=r"Mask, which would have to move .* mix only chains that move no pixels"):
        Mixture([constant(), SpatialChange()])(sample)


@pytest.mark.parametrize(
    ("chains", "alpha", "message"),
    [
        ([], 1.0, "chains must hold at least one"),
        ([[]], 1.0, "chains must hold at least one"),
        ([RandomCorruption(NOISE)], 0.0, "alpha must be"),
        ([RandomCorruption(NOISE)], float("nan"), "alpha must be"),
    ],
)
def test_what_cannot_be_mixed_is_refused(chains: Any, alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(chains, alpha=alpha)


def test_transforms_of_other_packages_are_refused() -> None:
    with pytest.raises(TypeError, match="chains"):
        Mixture([v2.RandomHorizontalFlip()])  # type: ignore[list-item]
