"""The same images and labels give the same classifier, in whatever form they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchvision.transforms.v2.functional import normalize, pil_to_tensor, resize, to_dtype

from cvae import LoopSettings
from perturbsets import Method, Normalized, StandardTraining, train_classifier
from perturbsets.multi_label import MultiLabelTraining
from tests.data_sets import Batches, Files, Texts, med_mnist, pictures, rows
from tests.perturbsets.test_training import METHODS, classifier
from tests.perturbsets.training.dual_methods import HELPED, LABELLING, LEARNING, TRAININGS, frozen

SETTINGS = LoopSettings(steps=2, batch=6)


def drawn(size: int, classes: int, count: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)
    states = torch.rand(count, 3, generator=generator).round().float()
    return images, torch.arange(count) * classes // count, states


def trained(
    model: nn.Module, data: Any, method: Method, settings: LoopSettings = SETTINGS, **options: Any
) -> dict[str, Tensor]:
    """The weights after a training from the same start, and its last loss."""
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    records = train_classifier(model, data, method, settings, **options)
    return {**model.state_dict(), "loss": torch.tensor(records[-1]["loss"])}


Forms = dict[str, tuple[Any, dict[str, Any]]]


def hugging_face(columns: dict[str, Any]) -> Forms:
    table = pytest.importorskip("datasets", reason="needs Hugging Face datasets").Dataset.from_dict(columns)
    renamed = table.rename_columns({"image": "img", "label": "fine_label"})
    return {
        "rows of a table": (table, {}),
        "rows as tensors": (table.with_format("torch"), {}),
        "rows of other names": (renamed, {"fields": ("img", "fine_label")}),
        "a part of the rows": (torch.utils.data.Subset(table, range(12)), {}),
    }


def forms_of(library: str, root: Path) -> Forms:
    """The forms in which a library gives the same images, or in which people write them down themselves."""
    images, labels, _ = drawn(4, 3)
    columns = {"image": pictures(images), "label": labels.tolist(), "file": [f"{n}.png" for n in range(12)]}
    if library == "datasets":
        return hugging_face(columns)
    if library == "medmnist":
        pytest.importorskip("medmnist", reason="needs medmnist")
        return {"its own reader": (med_mnist(root / "med", images, labels), {})}
    return {
        "a folder with paths": (Files(root / "folder", images, labels), {}),
        "mappings": (rows(columns), {}),
        "labels [B, 1]": (TensorDataset(images, labels[:, None].int()), {}),
        "names around": (Texts(TensorDataset(images, labels)), {}),
        "whole batches": (Batches(label=labels, image=images), {}),
        "numbers": (TensorDataset(to_dtype(images, torch.float32, scale=True), labels), {}),
    }


@pytest.fixture(scope="module")
def forms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    return forms_of(request.param, tmp_path_factory.mktemp("forms"))


@pytest.mark.parametrize("forms", ["torchvision", "datasets", "medmnist"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_every_form(method: Method, forms: Forms) -> None:
    expected = trained(classifier(), TensorDataset(*drawn(4, 3)[:2]), method)
    for form, (data, options) in forms.items():
        found = trained(classifier(), data, method, **options)
        assert_close(found, expected, msg=lambda text, form=form: f"{form}: {text}", rtol=0.0, atol=0.0)


@pytest.mark.parametrize(("method", "network"), [(one, network) for many, network, _ in TRAININGS for one in many])
def test_methods_of_labels_take_rows_and_names(method: Method, network: Callable[[], nn.Module]) -> None:
    images, labels, states = drawn(8, 4)
    alone = method in LABELLING
    tensors = (images, states) if alone else (images, labels, states)
    fields = ("image", "states") if alone else ("image", "label", "states")
    table = rows({"image": pictures(images), "label": labels.tolist(), "states": states.int().tolist()})
    expected = trained(network(), TensorDataset(*tensors), method)

    assert_close(trained(network(), table, method, fields=fields), expected, rtol=0, atol=0)
    assert_close(trained(network(), Texts(TensorDataset(*tensors)), method), expected, rtol=0, atol=0)


def advised(error: Any, **names: Any) -> Any:
    """What a message says to write."""
    text = re.search(r"(?:write|example) (.+?)(?: in a transform| where 255|, images first|, and|$)", str(error.value))
    assert text is not None
    names |= {"torch": torch, "numpy": np, "dict": dict}
    return eval(f"dict({text[1]})" if text[1].startswith("fields=") else text[1], names)


class Endless(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return (self.data[number] for number in range(12))


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda data: DataLoader(data, batch_size=6), "DataLoader"),
        (lambda data: {"train": data}, "dict"),
        (lambda data: dict(zip(("x", "y"), data.tensors, strict=True)), "dict"),
        (lambda data: data.tensors, "tuple"),
        (lambda data: tuple(part.numpy() for part in data.tensors), "tuple"),
        (Endless, "Endless"),
        (lambda data: (data[number] for number in range(12)), "generator"),
    ],
)
def test_what_is_no_map_style_data_set_is_refused_with_what_to_write(wrap: Callable[..., Any], kind: str) -> None:
    inside = TensorDataset(*drawn(4, 3)[:2])
    data = wrap(inside)
    with pytest.raises(TypeError, match=f"data must be a map-style data set, .* got a {kind}: write") as caught:
        trained(classifier(), data, StandardTraining())
    expected = trained(classifier(), inside, StandardTraining())
    settings = replace(SETTINGS, batch=data.batch_size) if isinstance(data, DataLoader) else SETTINGS

    assert_close(
        trained(classifier(), advised(caught, data=data), StandardTraining(), settings), expected, rtol=0, atol=0
    )


def test_objects_without_items_and_data_without_an_item_are_refused() -> None:
    with pytest.raises(TypeError, match="got a object: give it methods __len__ and __getitem__"):
        trained(classifier(), object(), StandardTraining())
    with pytest.raises(ValueError, match="data must hold at least one item, got none"):
        trained(classifier(), [], StandardTraining())


@pytest.mark.parametrize("label", ["fine_label", "class"])
def test_fields_of_other_names_are_listed_with_those_to_name(label: str) -> None:
    images, labels, _ = drawn(4, 3)
    data = [
        {"id": f"{number}", label: int(y), "img": picture}
        for number, (y, picture) in enumerate(zip(labels, pictures(images), strict=True))
    ]
    with pytest.raises(
        ValueError, match=rf"field 'image', got no such field beside \['id', '{label}', 'img'\]"
    ) as caught:
        trained(classifier(), data, StandardTraining())
    expected = trained(classifier(), TensorDataset(images, labels), StandardTraining())

    assert_close(trained(classifier(), data, StandardTraining(), **advised(caught)), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"field 'id', got '\d+' .* fields=\('img', "):
        trained(classifier(), data, StandardTraining(), fields=("img", "id"))


def test_fields_of_tuples_are_refused() -> None:
    data = TensorDataset(*drawn(4, 3)[:2])
    with pytest.raises(ValueError, match=r"fields must be left out where data gives no mappings, got fields=\('img',"):
        trained(classifier(), data, StandardTraining(), fields=("img", "label"))


IMAGES, LABELS, STATES = drawn(4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (IMAGES.float(), r"torch.uint8, or floating point within \[0, 1\], got 0 to 25\d: write image / 255"),
        (IMAGES.long(), "got torch.int64: write"),
        (IMAGES.permute(0, 2, 3, 1).numpy(), r"channels first, got an array \[4, 4, 1\]: write"),
    ],
)
def test_images_on_another_scale_are_refused_and_the_advice_works(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        trained(classifier(), list(zip(given, LABELS, strict=True)), StandardTraining())
    followed = [(advised(caught, image=image), label) for image, label in zip(given, LABELS, strict=True)]

    expected = trained(classifier(), TensorDataset(IMAGES, LABELS), StandardTraining())
    assert_close(trained(classifier(), followed, StandardTraining())["loss"], expected["loss"])


def test_normalised_images_are_refused_and_a_model_with_normalisation_is_the_same() -> None:
    images = IMAGES.float() / 255
    data = TensorDataset(normalize(images, [0.5], [0.2]), LABELS)
    with pytest.raises(ValueError, match=r"got -2\.\d* to 2\.\d*: move a normalisation from the data into the model"):
        trained(classifier(), data, StandardTraining())

    expected = trained(classifier(), data, StandardTraining(), bounds=(-2.5, 2.5))  # or whoever means it says so
    found = trained(Normalized(classifier(), [0.5], [0.2]), TensorDataset(images, LABELS), StandardTraining())
    assert_close(found["loss"], expected["loss"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_pictures_of_other_modes_are_refused_and_the_advice_works(mode: str) -> None:
    deep = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4369
    grey = Image.fromarray((deep // 257).astype(np.uint8))
    image = Image.fromarray(deep) if mode == "I;16" else grey.convert("RGB").convert(mode)
    channels = 1 if mode == "I;16" else 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(16 * channels, 3))
    with pytest.raises(ValueError, match=f"images must have mode .* got '{mode}': write") as caught:
        trained(model, [(image, 0)] * 4, StandardTraining())
    followed = advised(caught, image=image)
    kept = followed if isinstance(followed, Tensor) else pil_to_tensor(followed)

    trained(model, [(followed, 0)] * 4, StandardTraining())
    assert kept.shape == (channels, 4, 4)
    assert len(kept.unique()) == {"1": 2, "P": 6}.get(mode, 16)  # none of the picture's greys is lost


def test_pictures_of_several_sizes_are_refused_and_the_advice_works() -> None:
    pairs = [(pictures(resize(IMAGES, [4 + number % 2, 4]))[number], 0) for number in range(12)]
    with pytest.raises(ValueError, match=r"parts of one shape, got \[1, 4, 4\] and \[1, 5, 4\] as part 0 of") as caught:
        trained(classifier(), pairs, StandardTraining())
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))

    trained(model, [(advised(caught, image=image, width=4, height=4), y) for image, y in pairs], StandardTraining())


@pytest.mark.parametrize(
    ("method", "item", "message"),
    [
        (
            StandardTraining(),
            (IMAGES[0], "cat"),
            r"got no number with the image: give classes .* names.index\(name\)",
        ),
        (StandardTraining(), IMAGES[0], "got no number with the image"),
        (
            StandardTraining(),
            {"image": IMAGES[0], "label": "cat"},
            "got 'cat' .*give fields that hold image and label",
        ),
        (StandardTraining(), ("0.png", 0), r"must give items that begin with image, got \[\[\]\] as shapes"),
        (StandardTraining(), ("0.png",), r"must give items that begin with image, got \[\]"),
        (
            MultiLabelTraining(),
            (IMAGES[0], "cat"),
            r"must give \(image, states of labels\) for this method, got no number",
        ),
        (LEARNING[0], (IMAGES[0], 0), r"got 2 parts: of mappings, name all three"),
        (HELPED[0], {"image": IMAGES[0], "label": 0}, r"got 2 parts: of mappings, name all three"),
    ],
)
def test_items_that_lack_a_part_are_refused(method: Method, item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained(frozen(), [item] * 4, method)
