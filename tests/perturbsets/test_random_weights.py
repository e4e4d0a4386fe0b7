"""Networks with weights that nobody trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.testing import assert_close
from torchvision.models import ResNet, VisionTransformer, mobilenet_v2
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FrozenBatchNorm2d

from perturbsets import Normalized, SmallConvNet
from perturbsets.models import randomized


class Tied(nn.Module):
    """Two layers with one weight, and one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
        self.second.weight = self.first.weight
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.again(self.first(x)))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(12, 12, (1, 3), groups=12),
        nn.GroupNorm(3, 12),
        nn.ConvTranspose2d(12, 6, 2, stride=2, groups=2),
        nn.Flatten(),
        nn.LazyLinear(7),
        nn.LayerNorm(7),
    )


def called(model: nn.Module) -> nn.Module:
    model(torch.rand(4, 3, 12, 12))
    return model


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small": SmallConvNet,
    "convolutions": lambda: called(convolutions()),
    "tied": Tied,
    "normalized": lambda: Normalized(nn.Conv2d(3, 2, 3), [0.4, 0.5, 0.6], [0.2, 0.2, 0.3]),
    "resnet": lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5),
    "mobilenet": lambda: mobilenet_v2(num_classes=5, width_mult=0.25),
    "transformer": lambda: VisionTransformer(16, 8, 2, 4, 32, 64, num_classes=5),
}


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kernels(model: nn.Module) -> list[Tensor]:
    """The matrices of all weights, group by group."""
    found = []
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if "weight" in name and weight.ndim > 1:
                groups = 3 if name == "in_proj_weight" else getattr(module, "groups", 1)
                found += list(weight.detach().flatten(1).chunk(groups))
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("orthonormal", [False, True])
def test_the_callers_model_and_the_global_states_are_left_alone(name: str, orthonormal: bool) -> None:
    model = NETWORKS[name]()
    before, states = copy.deepcopy(model), (torch.get_rng_state(), [m.training for m in model.modules()])
    made = randomized(model, orthonormal=orthonormal, generator=drawn())

    assert_close(model.state_dict(), before.state_dict(), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (
        [module.training for module in model.modules()] == [module.training for module in made.modules()] == states[1]
    )
    assert all(parameter.requires_grad and parameter.grad is None for parameter in made.parameters())
    ours = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    assert not ours & {id(tensor) for tensor in (*made.parameters(), *made.buffers())}
    assert made.state_dict().keys() == model.state_dict().keys()
    assert type(made) is type(model)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("orthonormal", [False, True])
def test_every_weight_is_drawn_anew_and_by_the_generator_alone(name: str, orthonormal: bool) -> None:
    model = NETWORKS[name]()
    made, again, other = (randomized(model, orthonormal=orthonormal, generator=drawn(seed)) for seed in (1, 1, 2))

    assert_close(made.state_dict(), again.state_dict(), rtol=0, atol=0)
    trios = list(zip(kernels(model), kernels(made), kernels(other), strict=True))
    assert trios
    for trio in trios:  # of millions of single-precision numbers some agree
        assert all((a == b).double().mean() < 1e-4 for a, b in combinations(trio, 2))
    unseeded = [kernels(randomized(model, orthonormal=orthonormal))[0] for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_all_singular_values_of_orthonormal_networks_are_one(name: str) -> None:
    made = randomized(NETWORKS[name](), orthonormal=True, generator=drawn())

    for matrix in kernels(made):
        values = torch.linalg.svdvals(matrix.double())
        assert_close(values, torch.ones_like(values), rtol=0, atol=2e-6)  # of products of 1000 singles


def test_orthonormal_matrices_favour_no_direction() -> None:
    """Of a rotation drawn uniformly, each column is uniform on the sphere: its first entry has a known law."""
    model = nn.Linear(3, 3)
    draws = drawn(4)
    corners = torch.stack([randomized(model, orthonormal=True, generator=draws).weight[0] for _ in range(500)])

    for entries in corners.detach().T:  # Archimedes: uniform on [-1, 1] in three dimensions
        assert stats.kstest(entries.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(300, 100), 300),
        (nn.Conv2d(16, 60, 5), 16 * 25),
        (nn.Conv2d(16, 64, 5, groups=8), 2 * 25),
        (nn.Conv1d(8, 512, 3), 24),
        (nn.ConvTranspose2d(64, 16, 4, stride=2), 64 * 4),
        (nn.ConvTranspose2d(64, 16, 4, stride=2, groups=4), 16 * 4),
    ],
)
def test_weights_are_normal_with_the_variance_of_he(layer: nn.Module, inputs: int) -> None:
    weight = randomized(layer, generator=drawn()).weight.detach().flatten()
    assert stats.kstest((weight * (inputs / 2) ** 0.5).double().numpy(), "norm").pvalue > 1e-3


def test_relus_hand_on_images_of_the_same_mean_square() -> None:
    """He et al., eq. 10: exact on average over weights; networks of 6 layers of 64 units scatter by sqrt(6 * 5/64)."""
    layers = [step for _ in range(6) for step in (nn.Linear(64, 64), nn.ReLU())]
    model, x, draws = nn.Sequential(*layers), torch.rand(1, 64), drawn(5)
    shares = []
    for _ in range(400):
        after = randomized(model, generator=draws)[:-1](x).detach()
        shares.append(after.square().sum() / (2 * x.square().sum()))  # before its ReLU, half of which is lost

    assert float(torch.stack(shares).mean()) == pytest.approx(1, abs=4 * (6 * 5 / 64 / 400) ** 0.5)


def test_convolutions_hand_on_the_mean_square_too() -> None:
    model = nn.Sequential(
        nn.Conv2d(32, 64, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular", groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 64, 4, stride=4),
        nn.ReLU(),
    )
    x, draws, shares = torch.randn(2, 32, 8, 8), drawn(6), []
    for _ in range(50):
        shares.append(randomized(model, generator=draws)(x).detach().square().mean() / x.square().mean())

    assert float(torch.stack(shares).mean()) == pytest.approx(1, abs=4 * float(torch.stack(shares).std()) / 50**0.5)


def test_biases_are_zero_and_normalisations_are_reset() -> None:
    model = called(convolutions())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(3.0)
    made = randomized(model, generator=drawn())
    fresh = nn.BatchNorm2d(8)

    assert_close(made[1].state_dict(), fresh.state_dict())
    assert model[1].num_batches_tracked == 1
    for place in (5, 9):
        assert (made[place].weight == 1).all()
        assert (made[place].bias == 0).all()
    for place in (0, 2, 4, 6, 8):
        assert (made[place].bias == 0).all()


def test_the_modes_of_the_model_are_those_of_the_copy() -> None:
    model = called(convolutions()).train()
    model[1].eval()
    made = randomized(model)

    assert made.training
    assert not made[1].training


def test_shared_weights_stay_shared() -> None:
    made = randomized(Tied(), generator=drawn())

    assert made.second.weight is made.first.weight
    assert made.again is made.first
    assert len(list(made.parameters())) == 2


def test_what_belongs_to_no_layer_keeps_its_entries_in_random_order() -> None:
    model = NETWORKS["transformer"]()
    with torch.no_grad():
        model.class_token.copy_(torch.arange(32.0))
    made = randomized(model, generator=drawn())

    assert not torch.equal(made.class_token, model.class_token)
    assert torch.equal(made.class_token.flatten().sort().values, torch.arange(32.0))


def test_the_normalisation_before_a_model_stays() -> None:
    made = randomized(NETWORKS["normalized"]())
    assert_close(made.mean, torch.tensor([0.4, 0.5, 0.6]))


@pytest.mark.parametrize("parametrised", [weight_norm, spectral_norm])
def test_parametrised_weights_become_plain_ones(parametrised: Callable[[nn.Module], nn.Module]) -> None:
    model, x = nn.Sequential(parametrised(nn.Linear(6, 4))).eval(), torch.rand(2, 6)
    before = model(x)
    made = randomized(model, orthonormal=True, generator=drawn())

    assert torch.equal(model(x), before)
    assert made(x).shape == (2, 4)
    assert type(made[0]) is nn.Linear
    assert dict(made.named_parameters()).keys() == {"0.weight", "0.bias"}
    assert_close(torch.linalg.svdvals(made[0].weight.detach()), torch.ones(4))
    assert "0.weight" not in dict(model.named_parameters())
    assert not any(p.requires_grad for p in randomized(model.requires_grad_(False)).parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_types_stay_and_the_numbers_hardly_depend_on_them(dtype: torch.dtype, orthonormal: bool) -> None:
    made = randomized(nn.Linear(6, 4).to(dtype), orthonormal=orthonormal, generator=drawn())
    assert made.weight.dtype == dtype

    if orthonormal:
        tolerance = 2 * torch.finfo(dtype).eps
        assert_close(
            torch.linalg.svdvals(made.weight.detach().double()), torch.ones(4).double(), rtol=0, atol=tolerance
        )


def test_frozen_weights_stay_frozen() -> None:
    assert not any(p.requires_grad for p in randomized(nn.Linear(6, 4).requires_grad_(False)).parameters())


def test_a_copy_can_be_saved_as_its_original(tmp_path: Path) -> None:
    made = randomized(SmallConvNet(height=12, width=12), orthonormal=True)
    made.save_pretrained(tmp_path)
    assert_close(SmallConvNet.from_pretrained(tmp_path).state_dict(), made.state_dict())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "model must have weights to draw anew, got a Sequential without"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "got a LazyLinear at '1' that has none before its first pass"),
    ],
)
def test_models_without_weights_are_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        randomized(model)


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_weights_that_hooks_compute_are_refused(norm: Any) -> None:
    model = nn.Sequential(norm(nn.Linear(4, 3)), nn.ReLU())
    with pytest.raises(ValueError, match=r"model must have weights of its own, got weight_.* at '0', of which a hook"):
        randomized(model)


def test_frozen_normalisations_are_reset() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4))
    for buffer in model[1].buffers():
        buffer.fill_(7.0)
    made = randomized(model)[1]
    assert [float(buffer.mean()) for buffer in made.buffers()] == [1.0, 0.0, 0.0, 1.0]
    assert all(float(buffer.mean()) == 7.0 for buffer in model[1].buffers())
