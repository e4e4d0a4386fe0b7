"""Certificates of a run: what held-out pairs prove of its set, and votes under noise of its classifiers."""

from __future__ import annotations

from typing import Any, NamedTuple

import safetensors.torch
import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_dtype

from augment import group_numbers
from cvae import derive_seed
from cvae.files import atomic_file
from perturbsets._types import Images
from perturbsets.certificates import (
    Certified,
    RadiusCertificate,
    Smoothed,
    SmoothedMaps,
    draw_pairs,
    find_contradictions,
    joint_statement,
)
from perturbsets.criteria import check_held_out
from perturbsets.criteria.pairs import Pairs
from perturbsets.loading import load
from perturbsets.recipe import Recipe
from perturbsets.runs import build
from perturbsets.runs.folder import RunFolder
from perturbsets.sets import LatentBall, PerturbationSet

FILE = "certificates/certificates.json"


def certify(recipe: Recipe, run: RunFolder, accelerator: Accelerator, console: Console) -> None:
    """Certifies on the test split what the recipe asks for, and says it in sentences."""
    settings = recipe.certify
    assert settings is not None  # or the recipe has no such stage
    content: dict[str, Any] = {"smoothing": {}}
    arrays: dict[str, Tensor] = {}
    pairs = needed = None
    if settings.coverage is not None or settings.radius is not None:
        learned = load(run.need("set", "fit") if recipe.learned is None else recipe.learned)
        learned.model.to(accelerator.device)
        stored = build.store(recipe, run, "test")
        check_held_out(learned, stored)
        pairs = draw_pairs(stored, generator=_generator(recipe, "pairs"))
        if settings.coverage is not None:
            covered = settings.coverage.make()(learned, pairs, generator=_generator(recipe, "coverage"))
            content["coverage"], arrays["coverage/errors"] = covered.summary(), covered.errors
        if settings.radius is not None:
            needed = settings.radius.make()(learned, pairs, generator=_generator(recipe, "radius"))
            content["radius"], arrays["radius/radii"] = needed.summary(), needed.radii
    if settings.smoothing:
        sets, models = build.perturbation_sets(recipe, run), build.classifiers(recipe, run, accelerator.device)
        for name, section in settings.smoothing.items():
            held = _held_out(recipe, pairs, section.images, accelerator.device)
            summary, found = _smoothed(recipe, name, models[section.classifier][0], sets[section.set], held, needed)
            content["smoothing"][name] = {"classifier": section.classifier, "set": section.set, **summary}
            arrays |= {f"smoothing/{name}/{key}": value for key, value in found.items()}
    with atomic_file(run.path / "certificates" / "arrays.safetensors") as file:
        safetensors.torch.save_file({name: array.cpu().contiguous() for name, array in arrays.items()}, file)
    run.write_json(FILE, content)
    for sentence in sentences(content):
        console.print(sentence, highlight=False)


def sentences(content: dict[str, Any]) -> list[str]:
    """What is certified, a sentence each."""
    said = [content[name]["sentence"] for name in ("coverage", "radius") if name in content]
    for name, found in content["smoothing"].items():
        said.append(f"{name}: {found['sentence']}")
        if "joint" in found:
            said.append(f"{name}: {found['joint']['sentence']}")
    return said


class HeldOut(NamedTuple):
    """Clean images on which votes are certified.

    Attributes:
        images: The images, in [0, 1].
        labels: Their classes, or label maps.
        rows: Which of the held-out pairs they are of, one pair a source; ``None`` where they are of none.
        groups: Number of the independent unit of each.
    """

    images: Images
    labels: Tensor
    rows: Tensor | None
    groups: Tensor


def _held_out(recipe: Recipe, pairs: Pairs | None, count: int | None, device: torch.device) -> HeldOut:
    """The clean images of held-out pairs with classes, so that joint statements can be made, or else test images."""
    generator = _generator(recipe, "certified images")
    if pairs is not None:
        rows = torch.randperm(len(pairs), generator=generator)[:count]
        images, _, groups, labels = pairs.batch(rows)
        if bool((labels >= 0).all()):
            return HeldOut(to_dtype(images, torch.float32, scale=True).to(device), labels.to(device), rows, groups)
    data = build.source(recipe, "test")
    order = torch.randperm(len(data), generator=generator)[:count]
    images, labels = data.batch(order.tolist())
    return HeldOut(images.to(device), labels.to(device), None, group_numbers(data)[order])


def _smoothed(
    recipe: Recipe,
    name: str,
    model: nn.Module,
    perturbations: PerturbationSet,
    held: HeldOut,
    needed: RadiusCertificate | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The votes of one classifier, the search against them, and the joint statement where there can be one."""
    assert recipe.certify is not None
    section = recipe.certify.smoothing[name]
    generator = _generator(recipe, f"smoothing {name}")
    settings: dict[str, Any] = {
        "selection": section.selection,
        "draws": section.draws,
        "alpha": section.alpha,
        "groups": held.groups,
    }
    if held.labels.ndim > 1:
        maps = SmoothedMaps(model, perturbations, section.sigma).certify(
            held.images, held.labels, **settings, generator=generator
        )
        return maps.summary(), {"classes": maps.classes, "labels": held.labels}
    smoothed = Smoothed(model, perturbations, section.sigma)
    result = smoothed.certify(held.images, held.labels, **settings, generator=generator)
    content = result.summary()
    if section.contradictions:
        search = find_contradictions(smoothed, held.images, result, draws=section.draws, generator=generator)
        content["contradictions"] = search.summary()
    if needed is not None and held.rows is not None and isinstance(perturbations, LatentBall):
        content["joint"] = _joint(needed, held.rows, result).summary()
    return content, {"classes": result.classes, "labels": held.labels, "radii": result.radii}


def _joint(needed: RadiusCertificate, rows: Tensor, result: Certified) -> Any:
    radii = needed.radii[rows]
    return joint_statement(
        radii,
        torch.where(radii.isfinite(), needed.tolerance, torch.inf),  # they were searched for that tolerance
        result.radii.cpu(),
        result.correct().cpu(),
        error=needed.tolerance,
        alpha=needed.covering.alpha,
        failure=result.alpha,
        relative=needed.relative,
    )


def _generator(recipe: Recipe, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(recipe.seed, f"certify {name}"))
