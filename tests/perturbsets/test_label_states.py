import pytest
import torch

from perturbsets.label_states import check_label_logits, label_states, target_labels

NAN = float("nan")


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64])
def test_every_type_of_0_and_1_becomes_floating(dtype):
    states = label_states(torch.tensor([[1, 0], [0, 0]]).to(dtype), 2)
    assert states.is_floating_point()
    assert states.tolist() == [[1, 0], [0, 0]]


def test_unknown_states_stay_unknown():
    assert label_states(torch.tensor([[1.0, NAN]]), 1).isnan().tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(3), r"states \[2, L\], .* got \[3\]"),
        (torch.zeros(3, 2), r"states \[2, L\], .* got \[3, 2\]"),
        (torch.zeros(2, 0), r"got \[2, 0\]"),
        (
            torch.tensor([[0.0, 1.0], [2.0, 0.3]]),
            "got 2 as label 0 of row 1, and 1 more: apply a threshold to intensities",
        ),
        (torch.tensor([[0.0, 1.0], [NAN, NAN]]), "got none in row 1: leave these out"),
    ],
)
def test_wrong_arguments_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        label_states(labels, 2)


def test_a_target_may_leave_every_label_of_an_image_open():
    assert label_states(torch.full((1, 2), NAN), 1, each_known=False).isnan().all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"hide": [3]}, r"hide must be labels within 0 and 2, got \[3\]"),
        ({"show": [-1]}, r"show must be labels within 0 and 2, got \[-1\]"),
        ({"hide": [0, 1], "show": [1]}, r"got \[1\] in both"),
    ],
)
def test_labels_outside_of_the_label_space_are_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        target_labels(torch.zeros(1, 3), **asked)


def test_a_pattern_leaves_its_states_alone():
    states = torch.zeros(1, 3)
    target_labels(states, show=[0])
    assert not states.any()


@pytest.mark.parametrize("logits", [torch.zeros(2, 4), torch.zeros(1, 3)])
def test_logits_that_are_not_one_for_each_label_are_refused(logits):
    with pytest.raises(ValueError, match=r"one logit for each label, \[2, 3\], got"):
        check_label_logits(logits, torch.zeros(2, 3))
