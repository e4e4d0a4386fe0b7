"""Outputs of layers, against the same layers called one by one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import resnet18

from perturbsets import LayerOutputs, layer_names
from perturbsets.layer_outputs import Activation
from perturbsets.rows import check_choice


def small(inplace: bool = False) -> nn.Sequential:
    layers = [
        ("conv", nn.Conv2d(1, 4, 3, padding=1)),
        ("act", nn.ReLU(inplace)),
        ("pool", nn.MaxPool2d(2)),
        ("flat", nn.Flatten()),
        ("hidden", nn.Linear(16, 8)),
        ("act2", nn.ReLU(inplace)),
        ("last", nn.Linear(8, 3)),
    ]
    return nn.Sequential(OrderedDict(layers))


class Broken(nn.Module):
    """Raises when it is called."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken")


class Counting(nn.Linear):
    """Counts its calls."""

    count = 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        self.count += 1
        return super().forward(input)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


IMAGES = torch.linspace(-1, 1, 5 * 16).view(5, 1, 4, 4).sin()


@pytest.mark.parametrize("times", [1, 3])  # the first call passes through the whole model, later ones do not
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("activation", ["relu", "none"])
def test_outputs_are_those_of_the_layers_called_one_by_one(inplace: bool, activation: Any, times: int) -> None:
    model = small()
    x, expected = IMAGES, {}
    for name, module in model.named_children():
        x = module(x)
        expected[name] = (x.relu() if activation == "relu" else x).flatten(1)
    again = small(inplace)
    again.load_state_dict(model.state_dict())
    outputs = LayerOutputs(again, "*", activation=activation)
    for _ in range(times):
        found = outputs(IMAGES)

    assert list(found) == list(expected) == outputs.names
    for name, each in expected.items():
        assert torch.equal(found[name], each), name
    assert hooks(again) == 0


def test_gradients_are_those_of_the_plain_pass_also_through_what_is_overwritten() -> None:
    model = small(inplace=True)
    outputs = LayerOutputs(model, ["conv", "hidden"], activation="none")
    for _ in range(2):
        x = IMAGES.clone().requires_grad_()
        found = outputs(x)
        (gradient,) = torch.autograd.grad(found["conv"].square().sum() + found["hidden"].sin().sum(), x)
        conv = model.conv(x)
        hidden = model.hidden(F.max_pool2d(conv.relu(), 2).flatten(1))
        (expected,) = torch.autograd.grad(conv.square().sum() + hidden.sin().sum(), x)
        assert_close(gradient, expected)


def test_passes_end_behind_the_last_layer_wanted() -> None:
    model = nn.Sequential(nn.Flatten(), Counting(16, 8), nn.ReLU(), Counting(8, 3))
    outputs = LayerOutputs(model, ["2", "1"])
    for _ in range(4):
        outputs(IMAGES)

    assert (model[1].count, model[3].count) == (4, 1)


@pytest.mark.parametrize("training", [True, False])
def test_modes_hooks_and_weights_stay_as_they_were_also_when_the_model_raises(training: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(), Broken()).train(training)
    with pytest.raises(RuntimeError, match="broken"):
        LayerOutputs(model, "1")(IMAGES)

    assert hooks(model) == 0
    assert all(module.training is training for module in model.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_hooks_of_the_callers_are_heard_and_stay() -> None:
    model, heard = small(), []
    model.conv.register_forward_hook(lambda *_: heard.append("conv"))
    outputs = LayerOutputs(model, "act")
    outputs(IMAGES), outputs(IMAGES)

    assert heard == ["conv"] * 2
    assert hooks(model) == 1


def test_names_are_in_the_order_of_the_network_and_not_repeated() -> None:
    model = resnet18(num_classes=4)

    assert layer_names(model, ["fc", "layer2.*.conv2", "conv1", "layer2.0.conv2"]) == [
        "conv1",
        "layer2.0.conv2",
        "layer2.1.conv2",
        "fc",
    ]
    assert layer_names(model, "layer1.*.relu:1") == ["layer1.0.relu:1", "layer1.1.relu:1"]
    assert layer_names(model, "") == [""]
    assert "" not in layer_names(model, "*")


def test_calls_of_a_shared_layer_are_told_apart() -> None:
    model = resnet18(num_classes=4).eval()
    x = torch.rand(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"'layer1.0.relu' is called 2 times in a pass: .* 'layer1.0.relu:0' to"):
        LayerOutputs(model, "layer1.0.relu")(x)
    names = ["layer1.0.bn1", "layer1.0.relu:0", "layer1.0.relu:1", "layer1.0"]
    outputs = LayerOutputs(model, names)
    with torch.no_grad():
        first, second = outputs(x), outputs(x)

    assert list(second) == ["layer1.0", "layer1.0.bn1", "layer1.0.relu:0", "layer1.0.relu:1"]
    assert torch.equal(second["layer1.0.bn1"], second["layer1.0.relu:0"])
    assert torch.equal(second["layer1.0"], second["layer1.0.relu:1"])
    assert not torch.equal(second["layer1.0.relu:0"], second["layer1.0.relu:1"])
    for name in outputs.names:
        assert torch.equal(first[name], second[name])
    with pytest.raises(ValueError, match="must be called in a pass of the model, got 2 calls"):
        LayerOutputs(model, "layer1.0.relu:2")(x)


def test_one_module_in_two_places_has_two_calls_under_each_name() -> None:
    act = nn.ReLU()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), act, nn.Linear(8, 8), act)
    with pytest.raises(ValueError, match="'4' is called 2 times"):
        LayerOutputs(model, "4")(IMAGES)

    assert torch.equal(LayerOutputs(model, "4:1")(IMAGES)["4:1"], model(IMAGES))


def test_unknown_layers_get_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"got 'hiden': nearest are \['hidden'"):
        layer_names(small(), ["conv", "hiden"])
    with pytest.raises(ValueError, match=r"got 'conv_\*': nearest are \['conv'"):
        layer_names(small(), "conv_*")
    with pytest.raises(ValueError, match="at least one layer, got none"):
        layer_names(small(), [])


@pytest.mark.parametrize(
    ("module", "got"),
    [
        (Pair(), "tuple"),
        (Function(lambda x: {"x": x}), "dict"),
        (Function(lambda x: x.argmax(1)), r"\[5\] of torch.int64"),
        (Function(lambda x: x.T), r"\[16, 5\] of torch.float32"),
        (Function(lambda x: x.sum()), r"\[\] of torch.float32"),
    ],
)
def test_layers_without_one_row_of_numbers_per_image_are_refused_by_name(module: nn.Module, got: str) -> None:
    model = nn.Sequential(nn.Flatten(), module)
    with pytest.raises(ValueError, match=f"layer '1' must return one floating-point tensor .* got {got}: take a layer"):
        LayerOutputs(model, "1")(IMAGES)


def test_layers_that_are_not_called_are_refused_by_name() -> None:
    model = small()
    model.spare = nn.Sequential(nn.ReLU())
    model.forward = lambda x: model.hidden(model.flat(model.pool(model.act(model.conv(x)))))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="layer 'last' must be called in a pass of the model, got 0 calls"):
        LayerOutputs(model, "last")(IMAGES)


@pytest.mark.parametrize("count", [0, 1])
def test_numbers_per_image_and_small_batches(count: int) -> None:
    model = nn.Sequential(nn.Flatten(), Function(lambda x: x.sum(1)))
    outputs = LayerOutputs(model, ["0", "1"], activation="none")(IMAGES[:count])

    assert_close(outputs["1"], IMAGES[:count].flatten(1).sum(1)[:, None])
    assert outputs["0"].shape == (count, 16)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # torch's own, at the first forward derivative
def test_transforms_of_functions_pass_through() -> None:
    model = small(inplace=False).double()
    outputs = LayerOutputs(model, ["act", "hidden"], activation="none")
    x, v = IMAGES.double(), torch.randn(IMAGES.shape, dtype=torch.float64)

    def features(images: Tensor) -> Tensor:
        return torch.cat(list(outputs(images).values()), 1)

    value, slope = torch.func.jvp(features, (x,), (v,))
    _, back = torch.func.vjp(features, x)
    step = 1e-6
    assert_close(slope, (features(x + step * v) - features(x - step * v)) / (2 * step), rtol=1e-5, atol=1e-7)
    assert torch.equal(value, features(x))
    assert_close((back(slope)[0] * v).sum(), (slope * slope).sum())


def test_memory_formats_and_types_are_those_of_the_model() -> None:
    model = small().to(memory_format=torch.channels_last)
    found = LayerOutputs(model, "conv", activation="none")(IMAGES.to(memory_format=torch.channels_last))

    assert_close(found["conv"], model.conv(IMAGES).flatten(1))
    half = small().bfloat16()
    assert LayerOutputs(half, "hidden")(IMAGES.bfloat16())["hidden"].dtype == torch.bfloat16


def test_unknown_activations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of \['relu', 'none'\], got 'tanh'"):
        check_choice("activation", "tanh", Activation)
