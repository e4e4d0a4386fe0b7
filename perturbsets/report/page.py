"""The report of a run folder as one HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from augment.extras import extra
from cvae import derive_seed
from cvae.files import atomic_file
from cvae.progress import read_records
from perturbsets.report import charts, findings, set_pictures
from perturbsets.report.criteria import criteria_sections
from perturbsets.report.drawing import COLOURS
from perturbsets.report.labels import auxiliary_section, label_sections, scheme_sections
from perturbsets.report.pictures import attack_grids, data_uri
from perturbsets.report.radius_charts import certified_chart, coverage_chart
from perturbsets.report.representations import representation_sections
from perturbsets.report.section import Section, read_classifiers, read_json, read_tensors
from perturbsets.sets.latent import LatentBall
from perturbsets.stages import STAGES, planned


def write_report(run: Path) -> Path:
    """Writes ``report.html`` from the files of a run folder, and each figure into ``figures/``.

    A section whose stage has not run yet names the command that makes it. The same folder gives the same pictures: the
    seed of the run chooses them.

    Returns:
        Path of the page: one file without links or scripts, in a light and a dark scheme.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a file in it is damaged.
        OSError: If the folder cannot be written.
    """
    run = Path(run)
    if not run.is_dir():
        raise FileNotFoundError(f"{run} is no folder: `perturbsets run RECIPE` makes one and its report")
    about = read_json(run / "run.json") or {}
    checks, evaluation, audits, robustness, costs, features = (
        read_json(run / file)
        for file in (
            "checks/checks.json",
            "evaluation/evaluation.json",
            "evaluation/audits.json",
            "evaluation/robustness.json",
            "classifiers/costs.json",
            "representations/representations.json",
        )
    )
    recipe = run / "recipe.yaml"
    content = _recipe(recipe)
    stages = list(STAGES) if content is None else planned(content)
    learns = "fit" in stages
    sections = [
        *([_made(run)] if "pairs" in stages else []),
        *(_pictures(run, _pairs(run, content), int(about.get("seed", 0))) if learns else []),
        *(criteria_sections(run, checks, _pairs(run, content)) if learns else []),
        *([auxiliary_section(run)] if "auxiliary" in stages else []),
        *([_training(run, evaluation, stages)] if learns or "train" in stages else []),
        *([_accuracy(evaluation, audits)] if "evaluate" in stages else []),
        *(scheme_sections(evaluation, robustness, costs) if "auxiliary" in stages else []),
        *_audit(audits),
        *_robustness(robustness, audits),
        *_attacks(run, evaluation),
        *([_certificates(run)] if "certify" in stages else []),
        *(representation_sections(run) if "representations" in stages else []),
        *(label_sections(run) if "labels" in stages else []),
    ]
    stages_done = about.get("stages", {}).items()
    made_by = [entry["command"] for name, entry in stages_done if name != "report" and "command" in entry]
    page = _render(
        title=run.resolve().name,
        run=shlex.quote(str(run)),
        about={"versions": {}, "stages": {}, **about},
        commands=list(dict.fromkeys(made_by)),
        summary=findings.summary(checks, evaluation, about, stages, features),
        figures=findings.key_figures(checks, evaluation, features),
        sections=sections,
        recipe=recipe.read_text() if recipe.is_file() else None,
    )
    for section in sections:
        for grid in section.grids:
            _write(run / "figures" / f"{grid.name}.png", grid.png())
        for chart in section.charts:
            _write(run / "figures" / f"{chart.name}.png", chart.png)
    return _write(run / "report.html", page.encode())


def _recipe(file: Path) -> dict[str, Any] | None:
    """The run's recipe; ``None`` where there is none, so that its stages are unknown."""
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML ({error}): bring it back") from error
    return content if isinstance(content, dict) and "output" in content else None


def _pairs(run: Path, content: dict[str, Any] | None) -> Path:
    """The pair file that the recipe names, or the run's own."""
    named = ((content or {}).get("pairs") or {}).get("path")
    return run / "pairs.h5" if named is None else Path(named)


def _made(run: Path) -> Section:
    """The section on the pairs that were made, with thumbnails."""
    counted, sheet = read_json(run / "pairs.json"), run / "figures" / "pairs-sheet.png"
    if counted is None or not sheet.is_file():
        return Section("made-pairs", "The pairs", needs="pairs")
    return Section("made-pairs", "The pairs", content={**counted, "sheet": data_uri(sheet.read_bytes())})


def _pictures(run: Path, pairs: Path, seed: int) -> list[Section]:
    """The sections of pictures of the set."""
    titles = {
        "pairs": "Real changes and the nearest members of the set",
        "samples": "Samples from the set",
        "walk": "Principal directions of the ball",
    }
    missing = "pairs" if not pairs.is_file() else "fit" if not (run / "set").is_dir() else None
    if missing is not None:
        return [Section(key, title, needs=missing) for key, title in titles.items()]
    from augment import PairStore

    generator = torch.Generator().manual_seed(derive_seed(seed, "report"))
    clean, changed = set_pictures.pick_pairs(PairStore(pairs, split="test"), generator)
    learned = LatentBall.load(run / "set")
    grids = [
        set_pictures.compare(learned, clean, changed),
        set_pictures.draw_samples(learned, clean, generator),
        set_pictures.walk(learned, clean),
    ]
    return [Section(grid.name, titles[grid.name], grids=[grid]) for grid in grids]


def _training(run: Path, evaluation: dict[str, Any] | None, stages: Sequence[str]) -> Section:
    """The section on fitting and training."""
    records = read_records(run / "fit" / "metrics.jsonl")
    trained = read_classifiers(run / "classifiers")
    drawn = charts.fit_charts(records) + charts.classifier_charts(trained, evaluation["rows"] if evaluation else [])
    needs = next((name for name, ready in (("fit", records), ("train", trained)) if name in stages and not ready), None)
    return Section("training", "Training", needs=needs, charts=drawn)


def _accuracy(evaluation: dict[str, Any] | None, audits: dict[str, Any] | None) -> Section:
    """The section on classifiers under attack."""
    title = "Accuracy under attack"
    if evaluation is None:
        return Section("accuracy", title, needs="evaluate")
    verdicts = findings.verdicts(evaluation["rows"], audits)
    content = {**evaluation, "note": findings.sample_note(evaluation), "verdicts": verdicts}
    return Section("accuracy", title, charts=[charts.accuracy_chart(evaluation)], content=content)


def _audit(audits: dict[str, Any] | None) -> list[Section]:
    """The section on the audit of the attacks."""
    cells = [cell for row in (audits or {}).get("rows", {}).values() for cell in row.values()]
    if audits is None or not cells:
        return []
    names = [check["name"] for check in cells[0]["checks"]]
    return [Section("audit", "Audit of the attacks", content={**audits, "names": names})]


def _robustness(robustness: dict[str, Any] | None, audits: dict[str, Any] | None) -> list[Section]:
    """The section on robust accuracy under the fixed ensemble."""
    if robustness is None:
        return []
    first = next(iter(robustness["rows"].values()))[0]
    verdicts = findings.verdicts(list(robustness["rows"]), audits)
    content = {
        **robustness,
        "members": list(first["broken"]),
        "images": first["images"],
        "independent": first.get("independent", first["images"]),
        "failed": {
            row: sum(cells.get(f"{name}: apgd-ce", 0) for name in robustness["sets"]) for row, cells in verdicts.items()
        },
    }
    return [Section("robustness", "Robust accuracy under a fixed ensemble of attacks", content=content)]


def _attacks(run: Path, evaluation: dict[str, Any] | None) -> list[Section]:
    """The section of pictures of each adversary's images."""
    about, file = read_json(run / "evaluation" / "pictures.json"), run / "evaluation" / "pictures.safetensors"
    if evaluation is None or about is None or not file.is_file():
        return []
    names = [name for name in evaluation["columns"] if name != "clean"]
    grids = attack_grids(read_tensors(file), names, about["classes"], evaluation["descriptions"])
    return [Section("attacks", f"Adversarial images: {about['classifier']}", grids=grids)] if grids else []


def _certificates(run: Path) -> Section:
    """The section on certificates: sentences, and the curves that they are points of."""
    title, file = "Certificates", run / "certificates" / "arrays.safetensors"
    content = read_json(run / "certificates" / "certificates.json")
    if content is None or not file.is_file():
        return Section("certificates", title, needs="certify")
    drawn = []
    if "coverage" in content:
        drawn.append(coverage_chart(read_tensors(file)["coverage/errors"], content["coverage"]))
    votes = certified_chart(content["smoothing"])
    return Section("certificates", title, charts=drawn if votes is None else [*drawn, votes], content=content)


def _render(**content: Any) -> str:
    with extra("report", "a report"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("perturbsets.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    forms = {name: getattr(findings, name) for name in ("percent", "times", "between", "images", "likelihood")}
    environment.globals.update(forms, zip=zip, interval=findings.share_interval, figure="{:.3g}".format)
    return environment.get_template("page.html").render(colours=COLOURS, **content)


def _write(path: Path, content: bytes) -> Path:
    with atomic_file(path) as file:
        file.write_bytes(content)
    return path
