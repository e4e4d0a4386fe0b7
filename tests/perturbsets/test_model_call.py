from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from perturbsets import (
    APGD,
    DLR,
    Adversary,
    CrossEntropy,
    FunctionObjective,
    KLDivergence,
    Margin,
    PixelBall,
    ProjectedGradient,
    SegmentationCrossEntropy,
    Smoothed,
    StrongestWrong,
    Worst,
    audit,
    bisect,
    evaluate,
    evaluate_robustness,
)
from perturbsets.adversaries import fast_minimum_norm
from perturbsets.evaluation import correct_under
from perturbsets.model_call import class_logits, logits
from perturbsets.multi_label import BinaryCrossEntropy

CLASSES = 4


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 1, 4, 4)


class Wrapping(nn.Module):
    """A network whose logits are handed on in another way."""

    def __init__(self, inside: nn.Module, hand_on: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inside, self.hand_on = inside, hand_on

    def forward(self, x: Tensor) -> Any:
        return self.hand_on(self.inside(x))


class InPlace(nn.Module):
    """Halves its own input, and refuses an empty batch as ``view(x.size(0), -1)`` does."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.modes = inside, list[bool]()

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        x.mul_(0.5)
        return self.inside(x.view(x.size(0), -1))


class Output(NamedTuple):
    logits: Tensor
    aux_logits: Tensor | None


HANDED_ON: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": lambda z: z,
    "a dictionary of logits": lambda z: {"loss": z.new_zeros(()), "logits": z},
    "a dictionary of out": lambda z: {"out": z, "aux": z},
    "a named tuple": lambda z: Output(z, None),
    "a tuple of one": lambda z: (z, None),
}


@pytest.mark.parametrize("way", HANDED_ON)
def test_logits_are_read_from_what_models_return(way: str) -> None:
    inside, x = network(), images()
    model = Wrapping(inside, HANDED_ON[way])
    y = inside(x).argmax(1)
    plain, wrapped = (
        Adversary(PixelBall("linf", 0.1))(each, x, y, generator=torch.Generator().manual_seed(0))
        for each in (inside, model)
    )

    assert_close(wrapped.images, plain.images)
    assert torch.equal(correct_under(model, None, x, y), torch.ones(6, dtype=torch.bool))


@pytest.mark.parametrize(
    ("way", "got"),
    [
        (lambda z: (z, z), r"a tuple of \[\[6, 4\], \[6, 4\]\].*`lambda x: model\(x\)\[0\]`"),
        (lambda z: {"scores": z}, r"a mapping of \['scores'\].*`lambda x: model\(x\)\['scores'\]`"),
        (lambda z: SimpleNamespace(scores=z), r"SimpleNamespace.*`lambda x: model\(x\)\.scores`"),
    ],
)
def test_other_outputs_are_refused_with_a_wrapper_that_works(way: Callable[[Tensor], Any], got: str) -> None:
    inside, x = network(), images()
    model, y = Wrapping(inside, way), inside(x).argmax(1)
    with pytest.raises(ValueError, match=got) as error:
        Adversary(PixelBall("linf", 0.1))(model, x, y)
    wrapper = eval(str(error.value).split("`")[1], {"model": model})  # the advice, followed

    assert torch.equal(correct_under(wrapper, None, x, y), torch.ones(6, dtype=torch.bool))


def test_rows_that_are_not_one_per_image_are_refused() -> None:
    for model in (nn.Flatten(0), lambda x: x.mean()):
        with pytest.raises(ValueError, match="one row of logits for each of 6 images"):
            logits(model, images())


@pytest.mark.parametrize("squeeze", [False, True])
def test_one_logit_is_a_classifier_of_two_classes(squeeze: bool) -> None:
    inside, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0 if squeeze else 1)), images()
    z, y = inside(x).flatten(), torch.tensor([0, 1, 0, 1, 0, 1])
    value, success = CrossEntropy().at(inside, x, y)(x, x.flatten(1))

    # Cross-entropy of (0, z) is ln(1 + e^z) - y z, the binary one.
    assert_close(value, binary_cross_entropy_with_logits(z, y.float(), reduction="none"))
    assert torch.equal(success, (z > 0) != (y == 1))
    assert class_logits(lambda x: inside(x).squeeze(), x[:1]).shape == (1, 2)


def test_one_logit_goes_through_evaluation_and_votes() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), images(20)
    y = (model(x)[:, 0] > 0).long()[:, None]  # labels [B, 1] as well
    result = evaluate_robustness(model, x, y, PixelBall("linf", 0.2), steps=5, queries=5)
    # The worst of an L-infinity ball on a linear logit, by Hoelder's inequality; the bounds only help the model.
    margin = model(x)[:, 0].abs() - 0.2 * model[1].weight.abs().sum()

    assert result.clean.mean == 1
    assert (result.broken_by == -1)[margin > 0].all()
    votes = Smoothed(model, PixelBall("l2", 1.0), sigma=1e-6).predict(x, draws=20)
    assert torch.equal(votes, y[:, 0])


BINDING = [CrossEntropy(), Margin(), DLR(), KLDivergence(), StrongestWrong(), BinaryCrossEntropy()]


@pytest.mark.parametrize("objective", BINDING, ids=lambda each: type(each).__name__)
def test_a_model_that_works_in_place_leaves_the_images_alone(objective: Any) -> None:
    model, x = InPlace(nn.Linear(16, CLASSES)), images()
    before, version = x.clone(), x._version
    labels = torch.ones(6, CLASSES) if isinstance(objective, BinaryCrossEntropy) else torch.arange(6) % CLASSES
    kept = FunctionObjective(lambda output, _: output.sum(1))
    for adversary in (
        Adversary(PixelBall("l2", 0.3), objective, ProjectedGradient(3)),
        Worst([Adversary(PixelBall("linf", 0.1), objective, APGD(3))], judge=objective),
        Adversary(PixelBall("linf", 0.0), kept),
    ):
        found = adversary(model, x, labels)
        assert torch.equal(x, before)
        assert float((found.images - before).flatten(1).norm(dim=1).max()) <= 0.4 + 1e-5
    if labels.ndim == 1:
        correct_under(model, None, x, labels)
        evaluate({"model": model}, {"clean": None, "l2": Adversary(PixelBall("l2", 0.3), objective)}, x, labels)
    assert torch.equal(x, before)
    assert x._version == version


def test_no_model_is_called_with_an_empty_batch() -> None:
    model, x = InPlace(nn.Linear(16, CLASSES)), images()
    wrong = (class_logits(model, x).argmax(1) + 1) % CLASSES
    result = evaluate_robustness(model, x, wrong, PixelBall("linf", 0.1), steps=3, queries=3)

    assert result.accuracy.mean == 0
    assert result.calls.tolist() == [1] * 6
    for attack in (Adversary(PixelBall("linf", 0.1)), Worst([Adversary(PixelBall("l2", 0.1))], drop_successes=True)):
        found = attack(model, x[:0], wrong[:0])
        assert found.images.shape == (0, 1, 4, 4)
        assert found.success.shape == found.calls.shape == (0,)


def functions_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x)


def functions(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    def inner(x: Tensor) -> Tensor:
        return model(x)

    held = [model]
    nested = functions_of(model)
    return {
        "lambda of a function": lambda x: nested(x),
        "lambda of a list": lambda x: held[0](x),
        "lambda": lambda x: model(x),
        "function": inner,
        "method": model.forward,
        "partial": partial(model.forward),
        "partial of a function": partial(lambda part, x: part(x), model),
    }


@pytest.mark.parametrize("kind", functions(network()))
def test_plain_callables_are_models_whose_modules_are_left_as_they_were(kind: str) -> None:
    torch.manual_seed(0)
    inside = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, CLASSES)).train()
    before = {name: value.clone() for name, value in inside.state_dict().items()}
    x, y = images(), torch.arange(6) % CLASSES
    function = functions(inside)[kind]
    first, second = (
        Adversary(PixelBall("linf", 0.1))(each, x, y, generator=torch.Generator().manual_seed(0))
        for each in (function, inside)
    )

    assert_close(first.images, second.images)  # both in evaluation mode: no dropout, no statistics of the batch
    assert all(module.training for module in inside.modules())
    assert all(torch.equal(value, before[name]) for name, value in inside.state_dict().items())
    assert torch.equal(correct_under(function, None, x, y), correct_under(inside, None, x, y))


def test_a_model_wrapped_for_several_processes_is_attacked_without_its_wrapper(monkeypatch: Any) -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        inside, x, y = network(), images(), torch.arange(6) % CLASSES
        model = DistributedDataParallel(inside)

        def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("a pass of the wrapper waits for the other processes")

        monkeypatch.setattr(DistributedDataParallel, "forward", refused)
        attack = Adversary(PixelBall("linf", 0.1), ascent=ProjectedGradient(12, stop_on_success=True))
        assert attack(model, x, y).images.shape == x.shape
        assert Worst([attack])(model, x, y).images.shape == x.shape
        assert evaluate_robustness(model, x, y, PixelBall("linf", 0.1), steps=3, queries=3).clean.mean <= 1
        assert len(audit(attack, model, x, y, draws=3).checks) == 9
        assert Smoothed(model, PixelBall("l2", 1.0), 0.1).predict(x, draws=20).shape == (6,)
        with pytest.raises(ValueError, match=r"write the function over its `\.module`"):
            attack(lambda x: model(x), x, y)
        inner = model.module  # the advice, followed
        assert attack(lambda x: inner(x), x, y).images.shape == x.shape
    finally:
        distributed.destroy_process_group()


def test_lists_of_targets_are_shared_out_with_their_images() -> None:
    # The value of an image is its own target's share of the brightness: only bright targets can be reached.
    model, x = nn.Flatten(), torch.full((4, 1, 2, 2), 0.5)
    targets = [{"limit": torch.tensor(limit)} for limit in (0.55, 2.0, 0.55, 2.0)]
    objective = FunctionObjective(
        lambda output, given: torch.stack([row.mean() - one["limit"] for row, one in zip(output, given, strict=True)]),
        success=lambda output, given: torch.stack(
            [row.mean() > one["limit"] for row, one in zip(output, given, strict=True)]
        ),
    )
    ascent = ProjectedGradient(20, stop_on_success=True)
    attack = Adversary(PixelBall("linf", 0.1), objective, ascent)

    assert attack(model, x, targets).success.tolist() == [True, False, True, False]
    several = Worst([attack, attack], judge=objective, drop_successes=True)
    assert several(model, x, targets).success.tolist() == [True, False, True, False]
    assert correct_under(model, attack, x, targets, batch=3).tolist() == [False, True, False, True]


@pytest.mark.parametrize("labels", [[1, 2, 3], torch.zeros(3), {"boxes": torch.zeros(5, 2)}, object()])
def test_labels_that_cannot_be_shared_out_are_refused(labels: Any) -> None:
    objective = FunctionObjective(lambda output, _: output.sum(1))
    with pytest.raises(ValueError, match=r"labels.* must (have|be a tensor, array, list or mapping with) one entry"):
        Adversary(PixelBall("linf", 0.1), objective)(nn.Flatten(), images(), labels)
    shared = FunctionObjective(partial(lambda given, output, _: output.sum(1), labels))  # the advice, followed
    assert Adversary(PixelBall("linf", 0.1), shared)(nn.Flatten(), images(), None).images.shape == (6, 1, 4, 4)


@pytest.mark.parametrize("kind", [Tensor.numpy, Tensor.tolist], ids=["array", "list"])
def test_class_labels_may_be_arrays_and_lists(kind: Callable[[Tensor], Any]) -> None:
    model, x, y = network(), images(), torch.arange(6) % CLASSES
    attack, ball = Adversary(PixelBall("linf", 0.1)), PixelBall("l2", 0.3)

    def results(labels: Any) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return [
                attack(model, x, labels, generator=torch.Generator().manual_seed(0)).images,
                correct_under(model, None, x, labels),
                evaluate_robustness(model, x, labels, ball, steps=3, queries=3).images,
                bisect(
                    Adversary(ball), model, x, labels, largest=1.0, generator=torch.Generator().manual_seed(0)
                ).radii,
                fast_minimum_norm(model, x, labels, norm="l2", steps=5).radii,
            ]

    for ours, theirs in zip(results(kind(y)), results(y), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (torch.arange(6).float() % CLASSES, r"labels\.long\(\)"),
        (torch.eye(CLASSES)[torch.arange(6) % CLASSES].long(), r"labels\.argmax\(1\)"),
    ],
)
def test_labels_in_another_form_are_refused_with_advice_that_works(labels: Tensor, advice: str) -> None:
    attack = Adversary(PixelBall("linf", 0.1))
    with pytest.raises(ValueError, match=f"write {advice} where"):
        attack(network(), images(), labels)
    written = eval(advice.replace("\\", ""), {"labels": labels})
    assert attack(network(), images(), written).images.shape == (6, 1, 4, 4)


def test_one_image_without_a_batch_is_refused_with_advice_that_works() -> None:
    x, y, attack = images()[0], torch.tensor(1), Adversary(PixelBall("linf", 0.1))
    with pytest.raises(ValueError, match=r"write images\[None\] and labels\[None\]"):
        attack(network(), x, y)
    assert attack(network(), x[None], y[None]).images.shape == (1, 1, 4, 4)


def test_outputs_that_are_no_tensors_are_refused() -> None:
    for model in (lambda x: x.flatten(1).numpy(), lambda x: None):
        with pytest.raises(ValueError, match="return a torch tensor"):
            logits(model, images())


def segmenter() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1))


def test_label_maps_are_refused_by_the_ensemble_with_what_does_for_them() -> None:
    model, x = segmenter(), images()
    maps = model(x).argmax(1)
    with pytest.raises(ValueError, match="for label maps write") as error:
        evaluate_robustness(model, x, maps, PixelBall("linf", 0.1))
    line = str(error.value).split("write ")[1]  # the advice, followed
    names = {"model": model, "images": x, "labels": maps, "perturbations": PixelBall("linf", 0.5)}
    table = eval(
        line,
        {
            **names,
            "evaluate": evaluate,
            "Adversary": Adversary,
            **{"SegmentationCrossEntropy": SegmentationCrossEntropy},
        },
    )

    assert table.correct["m", "robust"].shape == (1, 6)
    assert float(table.correct["m", "robust"].mean()) < 1


def test_label_maps_are_audited_by_their_objective() -> None:
    model, x = segmenter(), images()
    maps = model(x).argmax(1)
    attack = Adversary(PixelBall("linf", 0.5), SegmentationCrossEntropy(goal=0.8), ProjectedGradient(20))
    result = audit(attack, model, x, maps[:, None], draws=3)  # maps with a channel, as masks often come
    found = attack(model, x, maps, generator=torch.Generator().manual_seed(0))

    with pytest.raises(ValueError, match="labels must count somewhere in every image, got none in 6"):
        audit(attack, model, x, torch.full_like(maps, 255), draws=3)
    assert result.accuracy.mean == float((~found.success).double().mean())
    assert [check.passed for check in result.checks if check.name == "gradients are sound"] == [True]


def test_regression_is_judged_by_its_objective_and_never_taken_for_classes() -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), images()
    target = model(x).detach()
    objective = FunctionObjective(
        lambda output, wanted: (output - wanted).abs().sum(1),
        success=lambda output, wanted: (output - wanted).abs()[:, 0] > 0.1,
    )
    attack = Adversary(PixelBall("linf", 0.3), objective)
    with pytest.raises(ValueError, match="an adversary of radius 0") as error:
        correct_under(model, None, x, target)
    clean = eval(
        str(error.value).split("such as ")[1], {"Adversary": Adversary, "PixelBall": PixelBall, "objective": objective}
    )

    assert correct_under(model, clean, x, target).all()
    assert not correct_under(model, attack, x, target).all()
    assert audit(attack, model, x, target, draws=3).accuracy.mean < 1
