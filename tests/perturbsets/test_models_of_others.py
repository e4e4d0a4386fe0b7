"""Networks of other libraries, with random weights, through attack, ensemble, audit and training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cvae import LoopSettings
from perturbsets import (
    APGD,
    AdversarialTraining,
    Adversary,
    PixelBall,
    ProjectedGradient,
    SegmentationCrossEntropy,
    audit,
    evaluate,
    evaluate_robustness,
    train_classifier,
)
from perturbsets.evaluation import predictions

pytestmark = pytest.mark.slow
SIZE = 32
CLASSES = 4


def timm(name: str, **settings: Any) -> nn.Module:
    library = pytest.importorskip("timm", reason="networks of timm: pip install -e '.[benchmarks]'")
    return library.create_model(name, pretrained=False, num_classes=CLASSES, **settings)


def vision_transformer() -> nn.Module:
    library = pytest.importorskip("transformers", reason="networks of Hugging Face: pip install -e '.[benchmarks]'")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return library.ViTForImageClassification(
        library.ViTConfig(image_size=SIZE, patch_size=8, num_labels=CLASSES, **small)
    )


class Small(nn.Module):
    """A small network that hands on its logits in a way of its own."""

    def __init__(self, classes: int, hand_on: Callable[[Tensor, Tensor], Any], *, in_place: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AvgPool2d(15))
        self.head, self.hand_on, self.in_place = nn.Linear(8, classes), hand_on, in_place

    def forward(self, x: Tensor) -> Any:
        if self.in_place:
            x.sub_(0.5).div_(0.25)
        features = self.body(x).view(x.size(0), -1)
        return self.hand_on(self.head(features), features)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "timm resnet10t": lambda: timm("resnet10t"),
    "timm mobilenetv3": lambda: timm("mobilenetv3_small_050"),
    "timm convnext": lambda: timm("convnext_atto"),
    "timm swin": lambda: timm("swin_tiny_patch4_window7_224", img_size=SIZE, window_size=2, depths=(1, 1, 1, 1)),
    "timm xcit": lambda: timm("xcit_nano_12_p8_224", img_size=SIZE, depth=2),
    "transformers vit": vision_transformer,
    "one logit": lambda: Small(1, lambda logits, _: logits),
    "a tuple": lambda: Small(CLASSES, lambda logits, features: (logits, None)),
    "in place": lambda: Small(CLASSES, lambda logits, _: logits, in_place=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_classifiers_work_everywhere(name: str) -> None:
    model = MODELS[name]().train()
    x = torch.rand(6, 3, SIZE, SIZE)
    before, modes = x.clone(), [module.training for module in model.modules()]
    y = predictions(model, x)
    ball = PixelBall("linf", 4 / 255)
    found = Adversary(ball, ascent=ProjectedGradient(6, stop_on_success=True))(model, x, y)
    assert torch.equal(found.success, predictions(model, found.images) != y)
    assert torch.equal(x, before)
    assert modes == [module.training for module in model.modules()]

    result = evaluate_robustness(model, x, y, ball, steps=6, queries=6)
    assert torch.equal(predictions(model, result.images) != y, result.broken_by >= 0)
    none_left = evaluate_robustness(model, x, (y + 1) % 2, ball, steps=2, queries=2)
    assert none_left.calls.tolist()[0] >= 1
    assert len(audit(Adversary(ball, ascent=APGD(4)), model, x, y, draws=2).checks) == 9

    data = torch.utils.data.TensorDataset(x, y)
    method = AdversarialTraining(Adversary(ball, ascent=ProjectedGradient(2)))
    records = train_classifier(model, data, method, LoopSettings(steps=3, batch=4, learning_rate=1e-3))
    assert all(torch.isfinite(torch.tensor(record["loss"])) for record in records)
    assert torch.equal(x, before)


def test_a_segmentation_model_works_in_tables_audits_and_training() -> None:
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES
    )
    x = torch.rand(4, 3, SIZE, SIZE)
    maps = predictions(model, x)
    attack = Adversary(PixelBall("linf", 8 / 255), SegmentationCrossEntropy(goal=0.5), ProjectedGradient(4))
    table = evaluate({"model": model}, {"clean": None, "attack": attack}, x, maps)

    assert bool((table.correct["model", "clean"] == 1).all())
    assert bool((table.correct["model", "attack"] <= 1).all())
    stay = replace(attack, perturbations=PixelBall("linf", 0.0))
    assert bool((attack(model, x, maps).loss > stay(model, x, maps).loss).all())
    assert len(audit(attack, model, x, maps, draws=2).checks) == 9
    with pytest.raises(ValueError, match="for label maps write evaluate"):
        evaluate_robustness(model, x, maps, PixelBall("linf", 8 / 255))
    records = train_classifier(
        model,
        torch.utils.data.TensorDataset(x, maps),
        AdversarialTraining(attack),
        LoopSettings(steps=2, batch=4, learning_rate=1e-3),
    )
    assert len(records) > 0
