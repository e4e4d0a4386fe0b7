"""What every architecture must be able to do on any device, in any type and layout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from cvae import CVAE, ResidualCVAE, UNetCVAE
from tests.cvae.every_model import MODELS, Build, awake

SHAPE = (3, 17, 22)
every_model = pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)


def small(kind: Build, **arguments: object) -> CVAE:
    """A model whose latent has maps where the architecture knows them."""
    return awake(kind(*SHAPE, latent=24, hidden=8, **arguments)).eval()


def pair(count: int = 3) -> tuple[Tensor, Tensor]:
    return torch.rand(2, count, *SHAPE).unbind()


@every_model
def test_one_image_alone_gives_what_it_gives_in_a_batch(kind: Build) -> None:
    model = small(kind).double()
    x, changed = (part.double() for part in pair())
    u = torch.randn(3, 24).double()

    assert_close(model.decode(x[1:2], u[1:2]), model.decode(x, u)[1:2])
    assert_close(model.encode(x[1:2], changed[1:2]), model.encode(x, changed)[1:2])


@pytest.mark.parametrize("kind", [ResidualCVAE, UNetCVAE])
def test_no_images_give_no_images(kind: Build) -> None:
    model = small(kind)
    none, noise = torch.rand(0, *SHAPE), torch.randn(0, 24)

    assert model.decode(none, noise).shape == (0, *SHAPE)
    assert model(none, none, noise).kl.shape == (0,)


@every_model
def test_training_and_evaluation_are_the_same_network(kind: Build) -> None:
    model = small(kind)
    (x, changed), noise = pair(), torch.randn(3, 24)

    assert_close(model.train()(x, changed, noise), model.eval()(x, changed, noise), rtol=0, atol=0)


@every_model
def test_kept_features_are_those_of_the_kept_images(kind: Build) -> None:
    model = small(kind).double()
    x, rows, u = pair()[0].double(), torch.tensor([2, 0]), torch.randn(2, 24).double()
    kept = model.select(model.context(x), rows)

    assert_close(kept, model.context(x[rows]))
    assert_close(model.generator(x[rows], kept, model.prior(kept).at(u)), model.decode(x[rows], u))


@every_model
def test_types_agree(kind: Build) -> None:
    model = small(kind)
    (x, changed), noise = pair(), torch.randn(3, 24)
    single, image = model(x, changed, noise), model.decode(x, noise)
    model.double()
    double = model(x.double(), changed.double(), noise.double())

    assert double.statistic.dtype == torch.float64
    assert_close(single, type(single)(*(part.float() for part in double)), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.float().decode(x, noise)
    # bfloat16 keeps 8 bits; a few dozen layers round one after another.
    assert (half.float() - image).abs().mean() < 0.02


@every_model
def test_autocast_reaches_every_weight_with_a_gradient(kind: Build) -> None:
    model = small(kind).train()
    x, changed = pair()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model(x, changed, torch.randn(3, 24))
        (terms.statistic.mean() + terms.kl.mean()).backward()

    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    assert not [name for name, gradient in gradients.items() if gradient is not None and not gradient.abs().sum() > 0]


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@every_model
def test_every_weight_gets_a_gradient(kind: Build, likelihood: str) -> None:
    model = small(kind, likelihood=likelihood).train()
    x, changed = pair()
    terms = model(x, changed, torch.randn(3, 24))
    (terms.statistic.mean() + terms.kl.mean()).backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


@every_model
def test_channels_last_changes_the_layout_alone(kind: Build) -> None:
    model = small(kind).double()
    x, u = pair()[0].double(), torch.randn(3, 24).double()
    expected = model.decode(x, u)
    model.to(memory_format=torch.channels_last)
    found = model.decode(x.contiguous(memory_format=torch.channels_last), u)

    assert_close(found, expected)
    if isinstance(model, ResidualCVAE | UNetCVAE):
        assert found.is_contiguous(memory_format=torch.channels_last)


def check_compiled(backend: str) -> None:
    """Compares terms and their gradients of every model with those of its compiled self."""
    for kind in MODELS.values():
        torch.compiler.reset()
        model, (x, changed), noise = small(kind), pair(), torch.randn(3, 24)
        found: list[tuple[Tensor, ...]] = []
        for forward in (model, torch.compile(model, fullgraph=True, backend=backend)):
            terms = forward(x, changed, noise)
            gradients = torch.autograd.grad(terms.statistic.mean() + terms.kl.mean(), list(model.parameters()))
            found.append((torch.stack(terms), torch.cat([part.flatten() for part in gradients])))
        # Compilers fuse and reorder sums.
        for own, other in zip(*found, strict=True):
            assert_close(other, own, rtol=1e-4, atol=1e-4 * float(own.abs().max()))


@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler on CPUs"),
            ],
        ),
    ],
)
def test_compiles_as_one_graph(backend: str, root: Path) -> None:
    # A process of its own: the compiler cannot see through the checks of shapes that watch these tests.
    code = f"from tests.cvae.test_networks import check_compiled; check_compiled({backend!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert not done.returncode, done.stderr[-3000:]


@pytest.mark.parametrize("kind", [ResidualCVAE, UNetCVAE])
def test_a_new_model_changes_nothing(kind: Build) -> None:
    x = torch.rand(2, *SHAPE)
    x[0, :, :4], x[1, :, :4] = 0, 1
    cross_entropy = kind(*SHAPE, latent=24, likelihood="bernoulli")

    assert torch.equal(kind(*SHAPE, latent=24).decode(x, torch.randn(2, 24)), x)
    assert_close(cross_entropy.decode(x, torch.randn(2, 24)), x, rtol=0, atol=1.001 / 510)


def stored_for_the_gradient(height: int, width: int) -> int:
    """Numbers that a pass over one image keeps for its gradient."""
    model = UNetCVAE(3, height, width, latent=16, hidden=8, scales=3, maps=(0, 0, 0))
    tensors: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        tensors[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().size()
        return tensor

    held = []  # storages must not be freed and their addresses given out again
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: held.append(tensor) or record(tensor), lambda t: t):
        model(torch.rand(1, 3, height, width), torch.rand(1, 3, height, width), torch.randn(1, 16))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for address, size in tensors.items() if address not in weights)


def test_memory_of_the_unet_grows_with_the_number_of_pixels() -> None:
    once, twice, fourfold = (stored_for_the_gradient(64, width) for width in (64, 128, 256))

    # What does not depend on the size (vectors, grid) makes growth a little less than proportional.
    assert once < twice <= 2 * once
    assert twice < fourfold <= 2 * twice
    assert fourfold > 3.5 * once


def test_weights_of_the_unet_do_not_depend_on_the_image_size() -> None:
    small, large = (
        {name: tensor.shape for name, tensor in UNetCVAE(3, *size, maps=(0, 0, 0, 0, 1)).state_dict().items()}
        for size in ((64, 96), (125, 187))
    )
    known = {name for name in small if "whole" in name or "spread" in name}  # read the vector, whose size is the rest

    assert {name: shape for name, shape in small.items() if name not in known} == {
        name: shape for name, shape in large.items() if name not in known
    }
