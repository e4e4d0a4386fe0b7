from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from augment import ChangeTransform
from cvae import CVAE
from perturbsets import (
    Ascent,
    CrossEntropy,
    Margin,
    Method,
    Objective,
    Penalized,
    PerturbationSet,
    StrongestWrong,
)
from perturbsets.multi_label import BinaryCrossEntropy, LabelMargin, LabelRanking, TopK
from perturbsets.recipe import Recipe, read_recipe
from perturbsets.recipe.parts import part
from perturbsets.recipe.registry import ALLOWED, NO_PARTS, resolve

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SMALL: dict[str, Any] = {
    "output": "runs/small",
    "source": {"build": "augment.Digits", "size": 8, "digit": 8},
    "change": {"build": "augment.SpatialChange"},
    "model": {"build": "cvae.SpatialCVAE"},
    "sets": {"learned": {"build": "perturbsets.LatentBall"}},
    "classifier": {"build": "perturbsets.SmallConvNet"},
    "classifiers": {"plain": {"build": "perturbsets.StandardTraining"}},
    "adversaries": {"step": {"set": "learned", "ascent": {"build": "perturbsets.OneStep"}}},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL))
    return file


def faults(file: Path, *overrides: str) -> dict[str, str]:
    """The faults of a recipe: place to reason."""
    with pytest.raises(ValueError, match=r"has \d+ faults?:") as caught:
        read_recipe(file, overrides)
    first, *lines = str(caught.value).splitlines()
    assert f"has {len(lines)} fault" in first
    places, reasons = zip(*(line.strip().split(": ", 1) for line in lines), strict=True)
    return dict(zip(places, reasons, strict=True))


def test_recipes_are_found() -> None:
    assert RECIPES


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_recipe_is_valid_and_survives_the_run_folder(file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(file)
    kept = tmp_path / "recipe.yaml"
    kept.write_text(yaml.safe_dump(recipe.resolved()))

    assert read_recipe(tmp_path, [f"output={recipe.output}"]) == recipe
    assert f"perturbsets run {file.relative_to(ROOT / 'recipes').with_suffix('')}" in file.read_text()


def test_smallest_recipe_takes_defaults(small: Path) -> None:
    recipe = read_recipe(small)

    assert (recipe.seed, recipe.seeds, recipe.fit.steps, recipe.set.quantile) == (0, [0], 1000, 1.0)
    assert recipe.fit.make(seed=3).seed == 3
    assert recipe.change.make().rotation == 45.0


def test_all_faults_are_listed_at_once(small: Path) -> None:
    found = faults(
        small,
        "stray=1",
        "fit.stray=2",
        "fit.steps=many",
        "train.batch=0",
        "pairs.test=0",
        "set.quantile=1.5",
        "model.latent=three",
        "model.stray=3",
        "source.digit=2",
        "change.rotation=-1",
        "seeds=[]",
        "check.sufficient.draws=0",
        "sets.learned.draw=never",
        "classifiers.plain.build=os.system",
        "adversaries.step.ascent.stray=4",
    )

    expected = {
        "stray": "unknown key, got 1",
        "fit.stray": "unknown key, got 2",
        "fit.steps": "got 'many'",
        "train": "batch must be at least 1, got 0",
        "pairs.test": "greater than or equal to 1, got 0",
        "set.quantile": "less than or equal to 1, got 1.5",
        "model.latent": "got 'three'",
        "model.stray": "unknown key, got 3",
        "source": "digit must be 8 or more, got 2",
        "change": "rotation must be a finite number of 0 or more, got -1",
        "seeds": "at least 1 item",
        "check.sufficient": "draws must be at least 1, got 0",
        "sets.learned.draw": "got 'never'",
        "classifiers.plain": "os.system",
        "adversaries.step.ascent.stray": "unknown key, got 4",
    }
    assert set(found) == set(expected)
    for place, reason in expected.items():
        assert reason in found[place], place


def test_unknown_names_of_sets_are_listed(small: Path) -> None:
    with pytest.raises(ValueError, match="has 3 faults:") as caught:
        read_recipe(
            small,
            [
                "adversaries.step.set=lerned",
                "classifiers.more={build: perturbsets.AugmentedTraining, set: other}",
                "seeds=[1, 1]",
            ],
        )

    message = str(caught.value)
    assert "adversaries.step.set must be one of ['learned'], got 'lerned'" in message
    assert "classifiers.more.set must be one of ['learned'], got 'other'" in message
    assert "seeds must differ, got [1, 1]" in message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["fit.stray=3", "classifiers.plain={build: perturbsets.AugmentedTraining, set: nosuch}"],
            ["unknown key, got 3", "classifiers.plain.set must be one of ['learned'], got 'nosuch'"],
        ),
        (["change.rotation=-1", "change.scale=[2, 3]"], ["rotation must be", "scale must be"]),
        (["fit.steps=abc", "fit.batch=0"], ["got 'abc'", "batch must be at least 1, got 0"]),
        (
            ["adversaries.step.ascent={build: perturbsets.ProjectedGradient, steps: 0, restarts: 0}"],
            ["steps must be at least 1, got 0", "restarts must be at least 1, got 0"],
        ),
        (["sets.extra={build: perturbsets.LatentBall, radius: x}", "seeds=[1, 1]"], ["got 'x'", "seeds must differ"]),
    ],
)
def test_no_fault_hides_another(small: Path, overrides: list[str], expected: list[str]) -> None:
    with pytest.raises(ValueError, match="fault") as caught:
        read_recipe(small, overrides)

    for reason in expected:
        assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("classifiers={}", "at least 1 item"),
        ("set.radius=.inf", "finite"),
        ("sets.learned.radius=.nan", "finite"),
        ("adversaries.clean={set: learned, ascent: {build: perturbsets.OneStep}}", "clean must have another name"),
        ("sets={a.b: {build: perturbsets.SpatialBox}}", "pattern"),
        ("train.mixed_precision=bf16", "train.mixed_precision must be that of fit"),
        ("fit.mixed_precision=fp16", "got 'fp16'"),
    ],
)
def test_values_that_would_fail_later_are_refused_now(small: Path, override: str, reason: str) -> None:
    with pytest.raises(ValueError, match="fault") as caught:
        read_recipe(small, [override])

    assert reason in str(caught.value)


def test_a_run_folder_is_its_own_output_wherever_it_is(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(small.read_text())

    assert read_recipe(folder).output == str(folder)
    assert read_recipe(folder, ["output=elsewhere"]).output == "elsewhere"


def test_missing_sections_are_named(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("seed: 1\n")

    assert set(faults(file)) == {"output", "recipe"}
    assert (
        "must have pairs to make, a model to fit, classifiers or an auxiliary classifier to train or evaluate"
        in faults(file)["recipe"]
    )


@pytest.mark.parametrize(
    "place", ["source", "change", "model", "sets.learned", "classifier", "classifiers.plain", "adversaries.step.ascent"]
)
@pytest.mark.parametrize("name", ["os.system", "antigravity.fly", "cvae.train", "augment.Digits.batch", ""])
def test_names_outside_the_list_are_refused_and_never_imported(small: Path, place: str, name: str) -> None:
    found = faults(small, f"{place}.build={name}")

    assert any(where.startswith(place) for where in found)
    assert "antigravity" not in sys.modules


def test_parts_of_another_role_are_refused(small: Path) -> None:
    assert "sets.learned" in faults(small, "sets.learned.build=cvae.SpatialCVAE")


def test_arguments_that_the_run_fills_in_are_no_keys(small: Path) -> None:
    found = faults(small, "model.height=28", "source.split=test", "sets.learned.bank=[1]", "fit.seed=1")

    assert set(found) == {"model.height", "source.split", "sets.learned.bank", "fit.seed"}


def public_subclasses(base: type) -> set[type]:
    """Concrete subclasses that a package exports."""
    found = set()
    for kind in base.__subclasses__():
        found |= public_subclasses(kind)
        names = kind.__module__.split(".")
        packages = [sys.modules[".".join(names[:depth])] for depth in ((1, 2) if names[0] == "perturbsets" else (1,))]
        if names[0] in ("augment", "cvae", "perturbsets") and any(hasattr(one, kind.__name__) for one in packages):
            found |= set() if inspect.isabstract(kind) else {kind}
    return found


@pytest.mark.parametrize("base", [CVAE, ChangeTransform, PerturbationSet, Objective, Ascent, Method])
def test_every_public_class_of_a_role_is_a_part_or_an_exception(base: type) -> None:
    parts = {resolve(name) for names in ALLOWED.values() for name in names}
    exceptions = {name.rpartition(".")[2] for name in NO_PARTS}

    assert public_subclasses(base)
    assert {kind.__name__ for kind in public_subclasses(base) - parts} <= exceptions
    assert not {kind.__name__ for kind in parts} & exceptions


def test_names_of_parts_are_those_of_their_classes() -> None:
    for names in ALLOWED.values():
        for name in names:
            assert resolve(name).__name__ == name.rpartition(".")[2]


WRAPPED = [
    (
        "{build: perturbsets.Penalized, weight: 2, objective: {build: perturbsets.Margin}}",
        Penalized(Margin(), weight=2.0),
    ),
    (
        "{build: perturbsets.StrongestWrong, rank: 2, objective: {build: perturbsets.CrossEntropy, targeted: true}}",
        StrongestWrong(2, objective=CrossEntropy(targeted=True)),
    ),
    ("{build: perturbsets.StrongestWrong}", StrongestWrong()),
]


@pytest.mark.parametrize(("text", "made"), WRAPPED)
def test_objectives_hold_others(small: Path, text: str, made: Objective) -> None:
    adversary = read_recipe(small, [f"adversaries.step.objective={text}"]).adversaries["step"]

    assert adversary.objective.make() == made


def test_faults_of_objectives_inside_others_are_reported(small: Path) -> None:
    found = faults(small, "adversaries.step.objective={build: perturbsets.Penalized, objective: {build: os.system}}")

    assert "os.system" in next(iter(found.values()))


@pytest.mark.parametrize("name", ["Fog", "GaussianBlur", "JpegCompression"])
def test_every_corruption_is_a_change(small: Path, name: str) -> None:
    made = read_recipe(small, [f"change={{build: augment.{name}}}"]).change.make()

    assert type(made).__name__ == name


def test_corruptions_are_changes(small: Path) -> None:
    one = ["change={build: augment.Corruption, name: gaussian_noise, severity: 2}"]
    several = ["change={build: augment.RandomCorruption, names: [gaussian_noise], severities: [1, 5]}"]

    assert read_recipe(small, one).change.make().settings == {
        "name": "gaussian_noise",
        "severity": 2,
        "constants": "cifar-c",
        "frost": None,
    }
    assert read_recipe(small, several).change.make().settings["severities"] == (1, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{build: augment.Corruption, name: gausian_noise}", "did you mean 'gaussian_noise'"),
        ("{build: augment.Corruption, name: gaussian_noise, severity: 6}", "severity must be 1, 2, 3, 4 or 5"),
        ("{build: augment.RandomCorruption, names: [], severities: [1]}", "must hold at least one"),
        ("{build: augment.Corruption, name: gaussian_noise, generator: 1}", "unknown key"),
        ("{build: augment.SpatialChange, return_parameters: true}", "unknown key"),
    ],
)
def test_changes_that_cannot_be_are_refused(small: Path, change: str, message: str) -> None:
    assert any(message in reason for reason in faults(small, f"change={change}").values())


def test_spatial_sets_need_spatial_changes(small: Path) -> None:
    change = "change={build: augment.Corruption, name: gaussian_noise}"
    found = faults(small, change, "sets.box={build: perturbsets.SpatialBox}")

    assert "sets.box must come with augment.SpatialChange" in str(found)


def test_overrides_reach_nested_keys_and_lists(small: Path) -> None:
    recipe = read_recipe(
        small,
        [
            "fit.steps=7",
            "seeds=[3, 1, 2]",
            "change.scale=[0.5, 1.5]",
            "check.necessary.restarts=2",
            "adversaries.step.ascent={build: perturbsets.RandomSearch, draws: 4}",
            "adversaries.more={set: learned, ascent: {build: perturbsets.OneStep}}",
            "output=runs/a=b",
        ],
    )

    assert recipe.fit.steps == 7
    assert recipe.seeds == [3, 1, 2]
    assert tuple(recipe.change.scale) == (0.5, 1.5)
    assert recipe.check.necessary.restarts == 2
    assert recipe.adversaries["step"].ascent.make().draws == 4
    assert list(recipe.adversaries) == ["step", "more"]
    assert recipe.output == "runs/a=b"


def test_later_override_wins(small: Path) -> None:
    assert read_recipe(small, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("text", ["fit.steps", "=3", "--steps"])
def test_override_without_key_or_value_is_refused(small: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"must look like key\.key=value, got .*, for example fit\.steps=100"):
        read_recipe(small, [text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit.steps.more=1", "steps holds no keys"),
        ("seed.more=1", "seed holds no keys"),
        ("seeds=[1", "is no YAML value"),
    ],
)
def test_override_that_cannot_be_read_is_refused(small: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(small, ["fit.steps=1", "seed=0", text])


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", ".001", "'1e-3'"])
def test_numbers_that_yaml_takes_for_text_are_floats(small: Path, text: str) -> None:
    assert read_recipe(small, [f"fit.learning_rate={text}"]).fit.learning_rate == 0.001


@pytest.mark.parametrize("text", [".nan", ".inf", "-1", "0"])
def test_impossible_learning_rates_are_refused(small: Path, text: str) -> None:
    assert "learning_rate must be above 0" in faults(small, f"fit.learning_rate={text}")["fit"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"!!python/object/apply:os.system ['true']", "is no YAML"),
        (b"", "must hold a mapping of sections, got NoneType"),
        (b"- 1", "must hold a mapping of sections, got list"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read_recipe(file)


def test_keys_that_are_no_text_are_refused(tmp_path: Path, small: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(small.read_text() + "1: 2\n")

    assert set(faults(file)) == {"1"}


def test_missing_file_and_folder_without_recipe_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"must be a YAML file or a run folder with a recipe\.yaml"):
            read_recipe(path)


def test_schema_in_the_repository_is_that_of_the_code() -> None:
    schema = json.loads((ROOT / "recipes" / "schema.json").read_text())

    assert schema == json.loads(json.dumps(Recipe.model_json_schema()))
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("said", "made"),
    [
        (
            {"build": "perturbsets.multi_label.BinaryCrossEntropy", "weights": [1.0, 2.0], "goal": "all"},
            BinaryCrossEntropy(weights=(1.0, 2.0), goal="all"),
        ),
        (
            {"build": "perturbsets.multi_label.LabelMargin", "targeted": True, "scores": "probabilities"},
            LabelMargin(targeted=True, scores="probabilities"),
        ),
        ({"build": "perturbsets.multi_label.LabelRanking"}, LabelRanking()),
        ({"build": "perturbsets.multi_label.TopK", "k": 2, "smooth": True}, TopK(2, smooth=True)),
    ],
)
def test_objectives_over_labels_may_be_said(said: dict[str, Any], made: Objective) -> None:
    assert TypeAdapter(part("multi-label objective")).validate_python(said).make() == made


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"build": "perturbsets.multi_label.TopK"}, "k\n.*Field required"),
        ({"build": "perturbsets.multi_label.TopK", "k": 0}, "k must be at least 1"),
        ({"build": "perturbsets.multi_label.LabelMargin", "confidence": -1}, "confidence must be in"),
        ({"build": "perturbsets.multi_label.BinaryCrossEntropy", "weights": [0.0, 0.0]}, "weights must be 0 or more"),
        ({"build": "perturbsets.CrossEntropy"}, "perturbsets.CrossEntropy"),
    ],
)
def test_objectives_over_labels_that_cannot_be_meant_are_faults(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TypeAdapter(part("multi-label objective")).validate_python(said)
