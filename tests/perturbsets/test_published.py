"""Networks of torchvision, by name."""

from __future__ import annotations

import copy
import io
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision import models
from torchvision.transforms.v2.functional import normalize

from cvae import Pretrained
from perturbsets import Adversary, LayerOutputs, PixelBall, Published, layer_names
from perturbsets.models import randomized
from perturbsets.recipe import read_recipe

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NAMES = ["squeezenet1_1", "resnet18", "shufflenet_v2_x0_5"]
DOWNLOAD = "torchvision.models._api.load_state_dict_from_url"


def theirs(name: str, classes: int = 5) -> nn.Module:
    torch.manual_seed(1)
    return models.get_model(name, num_classes=classes).eval()


def ours(name: str, **given: Any) -> Published:
    torch.manual_seed(1)
    return Published(name, **{"classes": 5} | given).eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_torchvisions_behind_its_normalisation(name: str) -> None:
    x = torch.rand(2, 3, 40, 48)
    made, wanted = ours(name), theirs(name)

    assert_close(made(x), wanted(normalize(x, MEAN, STD)), rtol=0, atol=1e-6)
    assert list(made.network.state_dict()) == list(wanted.state_dict())
    assert_close(made.train()(x).shape, wanted.train()(x).shape)


def test_transformers_with_parameters_of_their_own_are_networks_too() -> None:
    x = torch.rand(1, 3, 224, 224)
    made, wanted = ours("vit_b_32"), theirs("vit_b_32")

    assert_close(made(x), wanted(normalize(x, MEAN, STD)), rtol=0, atol=1e-5)
    assert "network.class_token" in dict(made.named_parameters())


def test_layers_have_torchvisions_names_behind_network() -> None:
    model, x = ours("alexnet"), torch.rand(2, 3, 64, 64)
    wanted = theirs("alexnet").features[:6](normalize(x, MEAN, STD)).flatten(1)

    assert layer_names(model, "*features.5") == ["network.features.5"]
    assert_close(LayerOutputs(model, "network.features.5")(x)["network.features.5"], wanted, rtol=0, atol=1e-6)


def test_statistics_are_those_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "get_model", lambda name, num_classes: nn.Linear(3, num_classes))
    for name, mean, std in (("vgg16", MEAN, STD), ("efficientnet_v2_l", [0.5] * 3, [0.5] * 3)):
        model = Published(name)
        assert_close(model.mean.flatten(), torch.tensor(mean))
        assert_close(model.std.flatten(), torch.tensor(std))


def test_grey_images_get_three_channels() -> None:
    x = torch.rand(2, 1, 40, 40)
    assert_close(ours("resnet18", channels=1)(x), ours("resnet18")(x.expand(-1, 3, -1, -1)), rtol=0, atol=1e-6)


def test_a_network_survives_saving(tmp_path: Path) -> None:
    model, x = ours("squeezenet1_1", channels=1), torch.rand(2, 1, 40, 40)
    model.save_pretrained(tmp_path)

    for kind in (Published, Pretrained):
        assert_close(kind.from_pretrained(tmp_path)(x), model(x))


def test_copies_are_independent() -> None:
    x = torch.rand(2, 3, 40, 40)
    model = ours("resnet18")
    before = model(x)
    copied, drawn = copy.deepcopy(model), randomized(model, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        copied.network.fc.bias.fill_(7.0)

    assert not torch.equal(copied(x), before)
    assert not torch.equal(drawn(x), before)
    assert torch.equal(model(x), before)


def test_modes_types_and_hooks_are_those_of_any_module() -> None:
    model, x = ours("resnet18"), torch.rand(2, 3, 40, 40)
    seen: list[str] = []
    handles = [model.register_forward_hook(lambda *_: seen.append("model"))]
    handles.append(model.network.fc.register_forward_hook(lambda *_: seen.append("fc")))
    model(x)
    assert seen == ["fc", "model"]
    for handle in handles:
        handle.remove()

    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())
    assert model.eval().double()(x.double()).dtype == torch.float64
    found = Adversary(PixelBall("linf", 0.01))(ours("resnet18"), x, torch.tensor([0, 1]))
    assert (found.images - x).abs().max() <= 0.01 + 1e-6


def published(name: str, categories: int = 1000) -> dict[str, Tensor]:
    """Weights as torchvision would fetch them."""
    torch.manual_seed(2)
    return models.get_model(name, num_classes=categories).state_dict()


def fetch(monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []

    def given(url: str, **options: Any) -> dict[str, Tensor]:
        calls.append((url, options))
        return dict(state)

    monkeypatch.setattr(DOWNLOAD, given)
    return calls


def test_published_weights_are_fetched_once_by_torchvision_and_saved_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = published("squeezenet1_1")
    calls = fetch(monkeypatch, state)
    model = Published("squeezenet1_1", weights="IMAGENET1K_V1").eval()
    model.save_pretrained(tmp_path)

    assert_close(model.network.state_dict(), state, rtol=0, atol=0)
    assert_close(Published.from_pretrained(tmp_path).network.state_dict(), state, rtol=0, atol=0)
    ((url, options),) = calls
    assert url == models.get_model_weights("squeezenet1_1").IMAGENET1K_V1.url
    assert options["weights_only"]
    assert options["check_hash"]


@pytest.mark.parametrize(("name", "last"), [("resnet18", "fc"), ("squeezenet1_1", "classifier.1")])
def test_the_last_layer_for_other_classes_stays_random(name: str, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = published(name)
    fetch(monkeypatch, state)
    made, random = (ours(name, weights=given).network.state_dict() for given in ("IMAGENET1K_V1", None))

    for key, tensor in made.items():
        assert_close(tensor, (random if key.startswith(last) else state)[key], rtol=0, atol=0)


def test_old_names_of_densenets_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("densenet121")
    old = {key.replace("norm1", "norm.1").replace("conv2", "conv.2"): tensor for key, tensor in state.items()}
    assert old.keys() != state.keys()
    fetch(monkeypatch, old)

    assert_close(Published("densenet121", weights="IMAGENET1K_V1").network.state_dict(), state, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_network_are_refused(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("squeezenet1_1")
    if change == "missing":
        del state["features.0.weight"]
    else:
        state["more" if change == "unknown" else "features.0.bias"] = torch.zeros(3)
    fetch(monkeypatch, state)

    with pytest.raises(
        ValueError, match="weights must be those of the network, got others from IMAGENET1K_V1 of squeez"
    ):
        Published("squeezenet1_1", weights="IMAGENET1K_V1")


@pytest.mark.parametrize("error", [urllib.error.URLError("offline"), RuntimeError("invalid hash value")])
def test_weights_that_cannot_be_had_are_explained(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(url: str, **options: Any) -> dict[str, Tensor]:
        raise error

    monkeypatch.setattr(DOWNLOAD, offline)
    with pytest.raises(
        OSError, match=r"could not be downloaded .*: put the file https://.*squeezenet1_1.*\.pth into .*, or"
    ):
        Published("squeezenet1_1", weights="IMAGENET1K_V1")


def test_a_pickle_of_anything_but_tensors_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / models.get_model_weights("squeezenet1_1").IMAGENET1K_V1.url.rsplit("/", 1)[1]
    file.parent.mkdir()
    torch.save({"features.0.weight": io.StringIO()}, file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    with pytest.raises(OSError, match=r"could not be downloaded \(Weights only load failed"):
        Published("squeezenet1_1", weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"name": "resnet8"},
            r"name must be one of torchvision's classifiers, got 'resnet8': nearest are \['resnet18'",
        ),
        ({"name": "googlenet"}, "name must be that of a network that returns logits alone, got 'googlenet'"),
        ({"name": "resnet18", "weights": "V1"}, r"weights must be one of \['IMAGENET1K_V1'\] for resnet18, or none"),
        ({"name": "vgg16", "weights": "IMAGENET1K_FEATURES"}, r"weights must be one of \['IMAGENET1K_V1'\] for vgg16"),
        ({"name": "vit_l_16", "weights": "IMAGENET1K_SWAG_E2E_V1"}, "weights must be one of"),
        ({"name": "resnet18", "classes": 1}, "classes must be at least 2, channels 1 or 3, got classes=1, channels=3"),
        (
            {"name": "resnet18", "channels": 2},
            "classes must be at least 2, channels 1 or 3, got classes=1000, channels=2",
        ),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Published(**given)


@pytest.mark.parametrize("shape", [(3, 62, 80), (3, 80, 62), (1, 80, 80)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must have 3 channels, 63 rows and 63 columns or more, got") as caught:
        ours("alexnet")(torch.rand(2, *shape))
    assert str(list(shape)) in str(caught.value)


RECIPE = """
output: runs/small
source: {build: augment.Digits, size: 8, digit: 8}
classifier: {build: perturbsets.Published, name: resnet18}
classifiers: {plain: {build: perturbsets.StandardTraining}}
"""


def test_recipes_name_a_network_and_nothing_is_built_to_check_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    monkeypatch.setattr(models, "get_model", None)
    recipe = read_recipe(file, ["classifier.weights=IMAGENET1K_V1"])

    assert (recipe.classifier.name, recipe.classifier.weights) == ("resnet18", "IMAGENET1K_V1")
    for override, message in (
        ("classifier.name=resnet8", "classifier: name must be one of torchvision's classifiers, got 'resnet8'"),
        ("classifier.weights=V9", "classifier: weights must be one of .'IMAGENET1K_V1'. for resnet18"),
        ("classifier.classes=4", "classifier.classes: unknown key"),
    ):
        with pytest.raises(ValueError, match=message):
            read_recipe(file, [override])


def test_a_recipe_builds_its_network_for_its_images(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    model = read_recipe(file).classifier.make(channels=1, height=8, width=8, classes=10)

    assert isinstance(model, Published)
    assert model.eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
