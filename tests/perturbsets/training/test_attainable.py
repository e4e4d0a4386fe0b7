"""Training with adversaries whose objectives can ask nothing of some images of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae import LoopSettings
from perturbsets import Adversary, CrossEntropy, Penalized, PixelBall, ProjectedGradient, Worst, train_classifier
from perturbsets.multi_label import BinaryCrossEntropy, DualS1, DualS2, LabelRanking, MultiLabelTraining, TopK
from perturbsets.multi_label.training import attack_attainable
from perturbsets.training import DualTargets
from tests.perturbsets.training.dual_methods import OWN, STEP, frozen, network

BALL = PixelBall("linf", 0.1)
RANKING = Adversary(BALL, LabelRanking(), STEP)
PUSHING = Adversary(BALL, TopK(2), STEP)
ANY = Adversary(BALL, BinaryCrossEntropy(), ProjectedGradient(2))
STATES = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, torch.nan]])
ABLE = {  # rows of STATES
    "ranking": (RANKING, [0, 2, 4]),
    "pushing": (PUSHING, [0, 2]),
    "priced": (Adversary(BALL, Penalized(LabelRanking(), weight=0.1), STEP), [0, 2, 4]),
    "any": (ANY, [0, 1, 2, 3, 4, 5]),
    "radius for each": (replace(RANKING, perturbations=PixelBall("linf", 0.02 * torch.arange(1.0, 7))), [0, 2, 4]),
    "worst": (Worst([RANKING, ANY, PUSHING], judge=BinaryCrossEntropy()), [0, 2]),
    "judge": (Worst([ANY], judge=LabelRanking()), [0, 2, 4]),
}


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images() -> Tensor:
    return torch.rand(6, 1, 8, 8, generator=drawn(1))


def on_rows(adversary: Any, rows: Tensor) -> Any:
    if isinstance(adversary, Worst):
        return replace(adversary, adversaries=[on_rows(each, rows) for each in adversary.adversaries])
    return replace(adversary, perturbations=adversary.perturbations.select(rows))


@pytest.mark.parametrize("kind", list(ABLE))
def test_attainable_rows_get_what_they_get_alone_and_others_stay_clean(kind: str) -> None:
    adversary, able = ABLE[kind]
    x, model, rows = images(), frozen(), torch.tensor(able)
    before = x.clone()
    found = attack_attainable(adversary, model, x, STATES, generator=drawn())
    alone = on_rows(adversary, rows)(model, x[rows], STATES[rows], generator=drawn())

    assert torch.equal(x, before)
    assert torch.equal(found.images[rows], alone.images)
    assert not torch.equal(alone.images, x[rows])
    others = [row for row in range(6) if row not in able]
    assert torch.equal(found.images[others], x[others])
    assert (found.offsets is None) == isinstance(adversary, Worst)
    if found.offsets is not None:
        assert torch.equal(found.offsets[rows], alone.offsets)
        assert not found.offsets[others].any()


def test_a_whole_batch_goes_to_the_adversary_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, seen = images(), STATES[[0, 2, 4, 0, 2, 4]], list[Any]()
    for adversary, states in ((ANY, STATES), (RANKING, z)):
        call = Adversary.__call__

        def watched(self: Adversary, *given: Any, call: Any = call, **options: Any) -> Any:
            seen.append((self, *given[1:]))
            return call(self, *given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Adversary, "__call__", watched)
            attack_attainable(adversary, frozen(), x, states, generator=drawn())
        who, what, which = seen.pop()
        assert who is adversary
        assert what is x
        assert which is states
        assert not seen


@pytest.mark.parametrize("adversary", [RANKING, Worst([RANKING], judge=LabelRanking())])
def test_a_batch_that_leaves_nothing_to_reach_stays_clean(adversary: Any) -> None:
    x = images()
    found = attack_attainable(adversary, frozen(), x, torch.ones(6, 3), generator=drawn())

    assert torch.equal(found.images, x)
    assert found.offsets is None or not found.offsets.any()


def test_one_image_that_both_fool_is_the_classifiers_own_where_the_auxiliary_one_is_none() -> None:
    x, model = images(), network()
    targets = DualTargets(torch.arange(6) % 4, STATES)
    own = OWN(model, x, targets.classes)
    fooled = RANKING(model.label_branch, x[[0, 2, 4]], STATES[[0, 2, 4]])
    clean, fooling, both = DualS2(RANKING, OWN, combine="added").examples(model, x, targets, drawn())

    assert clean.images is x
    assert torch.equal(fooling.images[[1, 3, 5]], x[[1, 3, 5]])
    assert torch.equal(fooling.images[[0, 2, 4]], fooled.images)
    assert torch.equal(both.images[[1, 3, 5]], own.images[[1, 3, 5]])
    assert not torch.equal(both.images[[0, 2, 4]], own.images[[0, 2, 4]])


@pytest.mark.parametrize("adversary", [RANKING, PUSHING, Worst([RANKING, ANY], judge=BinaryCrossEntropy())])
@pytest.mark.parametrize("kind", ["labels", "s1", "two", "added"])
def test_training_goes_on_where_states_leave_nothing_to_reach(kind: str, adversary: Any) -> None:
    if kind == "added" and isinstance(adversary, Worst):
        pytest.skip("several adversaries have no one set to add offsets of")
    own = Adversary(BALL, CrossEntropy(), STEP)
    methods: dict[str, Any] = {
        "labels": lambda: MultiLabelTraining(adversary=adversary),
        "s1": lambda: DualS1(adversary, auxiliary_adversarial=True),
        "two": lambda: DualS2(adversary, own),
        "added": lambda: DualS2(adversary, own, combine="added"),
    }
    model = frozen() if kind == "labels" else network()
    data = TensorDataset(images(), torch.arange(6) % 4, STATES)  # batches of 2 of which some have no row to attack

    assert train_classifier(model, data, methods[kind](), LoopSettings(steps=6, batch=2))


def test_places_that_there_are_too_few_labels_for_stop_a_training() -> None:
    data = TensorDataset(images(), STATES)
    with pytest.raises(ValueError, match="k must be below the number of labels, 3, got 3"):
        train_classifier(
            frozen(),
            data,
            MultiLabelTraining(adversary=replace(PUSHING, objective=TopK(3))),
            LoopSettings(steps=1, batch=3),
        )
