from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from perturbsets.recipe import read_recipe
from perturbsets.runs import RunFolder, execute

COVERAGE = {"share": 0.8, "alpha": 0.2, "steps": 2, "restarts": 1}
VOTE = {"classifier": "plain", "set": "learned", "sigma": 0.5, "images": 12, "selection": 4, "draws": 30, "alpha": 0.1}
LEARNED: dict[str, Any] = {
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange", "rotation": 20},
    "pairs": {"train": 1, "validation": 1, "test": 2},
    "model": {"build": "cvae.SpatialCVAE", "latent": 2, "hidden": 8, "features": 4, "grid": 2},
    "fit": {"steps": 4, "batch": 16, "validate_every": 2},
    "sets": {
        "learned": {"build": "perturbsets.LatentBall"},
        "pixels": {"build": "perturbsets.PixelBall", "norm": "l2", "radius": 1},
    },
    "classifier": {"build": "perturbsets.SmallConvNet", "hidden": 8},
    "train": {"steps": 20, "batch": 16},
    "classifiers": {"plain": {"build": "perturbsets.NoiseAugmentedTraining", "set": "learned", "sigma": 0.5}},
    "certify": {
        "coverage": COVERAGE,
        "radius": {**COVERAGE, "tolerance": 2.0, "relative": True},
        "smoothing": {"latent": VOTE, "pixel": {**VOTE, "set": "pixels", "sigma": 0.1, "contradictions": True}},
    },
}


def folder_of(tmp_path: Path, content: dict[str, Any], *overrides: str) -> RunFolder:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**content, "output": str(tmp_path / "run")}))
    run = None
    for stage in ("pairs", "fit", "train", "certify"):
        recipe = read_recipe(file, overrides)
        if stage in recipe.stages:
            run = execute(recipe, stage)
    assert run is not None
    return run


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("certified"), LEARNED).path


def read(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    folder = run / "certificates"
    return json.loads((folder / "certificates.json").read_text()), safetensors.torch.load_file(
        folder / "arrays.safetensors"
    )


def test_certificates_count_each_held_out_source_once(certified: Path) -> None:
    content, arrays = read(certified)

    assert content["coverage"]["sources"] == content["radius"]["sources"] == len(arrays["coverage/errors"]) == 300
    assert content["coverage"]["solved"] == "tolerance"
    assert float((arrays["coverage/errors"] <= content["coverage"]["tolerance"]).double().mean()) > 0.8
    assert content["radius"]["relative"] is True


def test_votes_on_held_out_images_are_joined_with_the_radii_that_their_pairs_need(certified: Path) -> None:
    content, arrays = read(certified)
    latent, pixel = content["smoothing"]["latent"], content["smoothing"]["pixel"]

    assert latent["images"] == pixel["images"] == latent["joint"]["sources"] == 12
    assert torch.equal(arrays["smoothing/latent/labels"], arrays["smoothing/pixel/labels"])  # the same images
    assert latent["joint"]["hits"] <= int(
        (arrays["smoothing/latent/classes"] == arrays["smoothing/latent/labels"]).sum()
    )
    assert "joint" not in pixel  # its radii are no latent ones
    assert pixel["contradictions"]["contradictions"] == 0
    assert "of their own squared change" in latent["joint"]["sentence"]


def test_certificates_are_the_same_again(certified: Path, tmp_path: Path) -> None:
    before = read(certified)
    execute(read_recipe(certified), "certify")
    after = read(certified)

    assert after[0] == before[0]
    assert all(torch.equal(after[1][name], before[1][name]) for name in before[1])


def test_votes_need_neither_pairs_nor_a_learned_set(tmp_path: Path) -> None:
    content = {
        "source": LEARNED["source"],
        "sets": {"pixels": LEARNED["sets"]["pixels"]},
        "classifier": LEARNED["classifier"],
        "train": {"steps": 2, "batch": 16},
        "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
        "certify": {"smoothing": {"pixel": {**VOTE, "set": "pixels"}}},
    }
    found, _ = read(folder_of(tmp_path, content).path)

    assert list(found["smoothing"]) == ["pixel"]
    assert set(found) == {"smoothing"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("certify.coverage.share=1.5",), "certify.coverage.*share must be above 0 and below 1, got 1.5"),
        (("certify.coverage.tolerance=0.1",), "two of tolerance, share and alpha must be given"),
        (("certify.radius.alpha=0",), "certify.radius.*alpha must be above 0 and below 1, got 0"),
        (("certify.smoothing.latent.sigma=-1",), "certify.smoothing.latent.sigma.*above 0 and finite, got -1"),
        (("certify.smoothing.latent.alpha=1",), "certify.smoothing.latent.alpha"),
        (("certify.smoothing.latent.set=other",), "certify.smoothing.latent.set must be one of .*, got 'other'"),
        (("certify.smoothing.latent.classifier=other",), "latent.classifier must be one of \\['plain'\\], got 'other'"),
        (("classifiers=null", "classifier=null"), "must come with classifiers, trained here or in the run `trained`"),
        (("model=null", "fit=null"), "certify.coverage must come with a model or a learned set"),
        (("evaluate.reference=other",), "evaluate.reference must be one of \\['plain'\\], got 'other'"),
        (("certify={}",), "certify must ask for coverage, radius or smoothing"),
    ],
)
def test_what_cannot_be_certified_is_told_before_any_work(
    tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**LEARNED, "output": str(tmp_path / "run")}))

    with pytest.raises(ValueError, match=words):
        read_recipe(file, overrides)


def test_too_few_sources_are_refused_with_the_number_needed(certified: Path, tmp_path: Path) -> None:
    content = {**LEARNED, "certify": {"coverage": {**COVERAGE, "share": 0.999, "alpha": 0.01}}}

    with pytest.raises(ValueError, match="4603 held-out sources are needed"):
        folder_of(tmp_path, content)
