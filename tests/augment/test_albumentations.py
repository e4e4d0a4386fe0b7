"""Our transforms in albumentations' pipelines: images, targets, files and replay."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch

import augment
from augment.albumentations import Corruption, RandomCorruption, SeededTransform
from augment.corruptions import CLASSES


def image(*shape: int, dtype: str = "uint8") -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    return (values * 255).astype("uint8") if dtype == "uint8" else values.astype(dtype)


class Turned(SeededTransform):
    """A change that moves pixels."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=p)

    @property
    def transform(self) -> augment.SpatialChange:
        return augment.SpatialChange(shift=0.3)


@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 1), (12, 9, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_corruption_is_that_of_the_drawn_seed(shape: tuple[int, ...], dtype: str) -> None:
    given = image(*shape, dtype=dtype)
    before = given.copy()
    made = A.ReplayCompose([Corruption("gaussian_noise", 4, p=1.0)])(image=given)
    seed = made["replay"]["transforms"][0]["params"]["seed"]

    plain = augment.Corruption("gaussian_noise", 4)
    tensor = torch.from_numpy(before.reshape(*shape[:2], -1)).permute(2, 0, 1)
    rows = plain.draw(1, generator=torch.Generator().manual_seed(seed))
    expected = plain.replay(tensor, rows).permute(1, 2, 0).reshape(shape).numpy()

    assert (made["image"].shape, made["image"].dtype) == (shape, given.dtype)
    np.testing.assert_array_equal(made["image"], expected)
    np.testing.assert_array_equal(given, before)
    assert not np.array_equal(made["image"], before)


@pytest.mark.parametrize("shape", [(5, 12, 9), (5, 12, 9, 3)])
def test_images_of_one_call_share_their_draw(shape: tuple[int, ...]) -> None:
    made = A.ReplayCompose([RandomCorruption(["gaussian_noise"], p=1.0)])(images=image(*shape))
    replay = made["replay"]

    assert made["images"].shape == shape
    for one, given in zip(made["images"], image(*shape), strict=True):
        np.testing.assert_array_equal(one, A.ReplayCompose.replay(replay, image=given)["image"])


@pytest.mark.parametrize("name", CLASSES)
def test_every_corruption_replays(name: str) -> None:
    given = image(32, 32, 3)
    made = A.ReplayCompose([Corruption(name, 5, p=1.0)])(image=given)

    assert (made["image"].shape, made["image"].dtype) == (given.shape, given.dtype)
    assert not np.array_equal(made["image"], given)
    np.testing.assert_array_equal(A.ReplayCompose.replay(made["replay"], image=given)["image"], made["image"])


def test_pipelines_with_one_seed_draw_the_same_and_draw_on() -> None:
    pipelines = [A.Compose([RandomCorruption(["gaussian_noise"], p=0.7)], seed=3) for _ in range(2)]
    given = image(10, 10, 3)

    first, second = ([pipeline(image=given)["image"] for _ in range(6)] for pipeline in pipelines)

    np.testing.assert_array_equal(first, second)
    assert len({one.tobytes() for one in first}) > 3


TRANSFORMS = [
    Corruption("gaussian_noise", 2, "imagenet-c", p=1.0),
    RandomCorruption(["gaussian_noise"], [1, 4], p=1.0),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_replay_survives_json_and_makes_the_same_image(transform: Any) -> None:
    given = image(16, 16, 3)
    made = A.ReplayCompose([deepcopy(transform), A.HorizontalFlip(p=1.0)])(image=given)
    replay = json.loads(json.dumps(made["replay"]))

    assert isinstance(replay["transforms"][0]["params"]["seed"], int)
    np.testing.assert_array_equal(A.ReplayCompose.replay(replay, image=given)["image"], made["image"])


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@pytest.mark.parametrize("how", ["dict", "json", "yaml", "pickle"])
def test_saved_pipelines_are_the_same(transform: Any, how: Any, tmp_path: Path) -> None:
    pipeline = A.Compose([deepcopy(transform)])
    if how == "dict":
        again = A.from_dict(json.loads(json.dumps(A.to_dict(pipeline))))
    elif how == "pickle":
        again = pickle.loads(pickle.dumps(pipeline))
    else:
        A.save(pipeline, tmp_path / "pipeline", data_format=how)
        again = A.load(tmp_path / "pipeline", data_format=how)
    given = image(8, 8, 3)
    for one in (pipeline, again):
        one.set_random_seed(5)

    assert A.to_dict(again) == A.to_dict(pipeline)
    assert again.transforms[0].transform.settings == transform.transform.settings
    np.testing.assert_array_equal(again(image=given)["image"], pipeline(image=given)["image"])


def test_targets_stay_where_pixels_stay() -> None:
    pipeline = A.Compose(
        [Corruption("gaussian_noise", p=1.0), A.NoOp(p=1.0)],  # it warns of boxes that no transform knows
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]),
        keypoint_params=A.KeypointParams("xy"),
    )
    sample = {"mask": image(8, 8), "bboxes": [[1, 2, 5, 6]], "labels": [3], "keypoints": [[2, 3]]}

    made = pipeline(image=image(8, 8, 3), **sample)

    np.testing.assert_array_equal(made["mask"], sample["mask"])
    np.testing.assert_allclose(made["bboxes"], sample["bboxes"], atol=1e-5)
    np.testing.assert_allclose(made["keypoints"], sample["keypoints"])


def test_targets_are_refused_where_pixels_move_also_in_a_replay() -> None:
    pipeline = A.ReplayCompose([Turned(p=1.0)])
    replay = pipeline(image=image(8, 8, 3))["replay"]
    message = "sample holds mask, which would have to move .* Turned"

    with pytest.raises(ValueError, match=message):
        pipeline(image=image(8, 8, 3), mask=image(8, 8))
    with pytest.raises(ValueError, match=message):
        A.ReplayCompose.replay(replay, image=image(8, 8, 3), mask=image(8, 8))


def test_targets_by_other_names_are_refused_too() -> None:
    pipeline = A.Compose([Turned(p=1.0)], additional_targets={"mask2": "mask", "image2": "image"})

    with pytest.raises(ValueError, match="sample holds mask2, which would have to move"):
        pipeline(image=image(8, 8, 3), mask2=image(8, 8))
    pipeline(image=image(8, 8, 3), image2=image(8, 8, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gausian_noise"}, "did you mean 'gaussian_noise'"),
        ({"name": "gaussian_noise", "severity": 6}, "severity must be 1, 2, 3, 4 or 5"),
        ({"name": "gaussian_noise", "constants": "tiny"}, "'cifar-c' or 'imagenet-c'"),
        ({"name": "gaussian_noise", "p": 1.5}, "less than or equal to 1"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corruption(**arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (image(8, 8, 3, dtype="float32") * 255, r"must lie within \[0, 1\]"),
        (image(8, 8, 3).astype("int16"), "must be uint8 or floating point"),
        (image(7, 8, 3), "at least 8x8 pixels"),
        (image(8, 8, 4), "with 1 or 3 channels"),
    ],
)
def test_values_that_are_no_images_are_refused(given: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corruption("brightness", p=1.0)(image=given)


def test_albumentations_is_imported_where_it_is_used_and_kept_off_the_network() -> None:
    code = """
import augment, os, sys
assert 'albumentations' not in sys.modules
import augment.albumentations
assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'
"""
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}

    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
