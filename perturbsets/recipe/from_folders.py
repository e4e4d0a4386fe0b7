"""A first recipe for a user's own pairs, with settings that fit the files."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from augment import ImageError, PairedFolders
from augment.images import SMALLEST, image_size, list_images

LOOKED_AT = 100  # files of which sizes and colours are measured
LARGEST = 64  # pixels: what a CPU learns in minutes
PASSES = 100  # over the pairs, within the bounds of STEPS
STEPS = 1000, 10_000
CERTIFIABLE = 29  # pairs that a statement about 90 % of future ones needs at a confidence of 95 %: 0.9 ** 29 < 0.05

TEMPLATE = """\
# {title}: a perturbation set learned from {total} pairs of images.
#   perturbsets run {file}
#   perturbsets run {file} fit.steps=200 output={output}-short
# {counts}
# Every value can be changed here or on the command line; the report names what was skipped.
seed: 0
output: {output}

pairs:
  of:
    build: augment.PairedFolders
    clean: {clean}
    changed: {changed}
    size: {size}  # height and width; {measured}
    channels: {channels}  # 3: colour, 1: grey
    # group: folder  # if images in one folder show one scene: it then stays in one split
  processes: 2

# ResidualCVAE learns changes of any kind. cvae.SpatialCVAE suits rotations, shifts and scales; cvae.UNetCVAE suits
# images above {largest} pixels, on a GPU.
model: {{build: cvae.ResidualCVAE, latent: {latent}}}  # latent: coordinates that tell one change from another
fit: {{steps: {steps}, batch: {batch}, learning_rate: 0.001, beta_warmup: 0.25, validate_every: {every}}}
set: {{quantile: {quantile}}}  # share of the validation pairs inside of the radius

check:  # on the test pairs
  necessary: {{steps: 50, restarts: 3}}  # how near the set comes to each real change
  sufficient: {{draws: 32}}  # how likely the real changes are in the set
{certify}
# Then, in Python: changed = augment.Perturb(perturbsets.load("{output}"))(images)
"""
CERTIFY = """
certify:  # with confidence 1 - alpha, a share of future pairs has a member of the set within the error that is found
  coverage: {share: 0.9, alpha: 0.05, relative: true}  # the error, as a share of the change
"""


def write_recipe(name: str, clean: Path | str, changed: Path | str) -> Path:
    """Writes the recipe of a set to learn from two folders that hold images of the same names.

    The folders and a sample of the files are read first: the size of images, their colours, and the settings follow
    from these.

    Args:
        name: Of the set; the file is ``name.yaml``, the run folder ``runs/name``.
        clean: Folder of the images before the change.
        changed: Folder of the images after it.

    Returns:
        The file, which :func:`perturbsets.recipe.read_recipe` reads.

    Raises:
        FileExistsError: If there is such a file.
        ValueError: If the name is no file name, the folders do not match, no file looked at is usable, or a split has
            no pair.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"name must be a plain file name of letters, digits, '-', '_' and '.', got {name!r}")
    file = Path(name).with_suffix(".yaml") if name.endswith(".yaml") else Path(f"{name}.yaml")
    if file.exists():
        raise FileExistsError(f"{file} exists and is not overwritten: choose another name, or remove it")
    size, measured = _size(Path(clean))
    source = PairedFolders(clean, changed, size=size)
    counts = _counts(source)
    text = TEMPLATE.format(
        title=file.stem,
        file=file,
        total=sum(counts.values()),
        output=f"runs/{file.stem}",
        clean=json.dumps(str(clean), ensure_ascii=False),
        changed=json.dumps(str(changed), ensure_ascii=False),
        size=list(size),
        measured=measured,
        channels=_channels(source),
        largest=LARGEST,
        **_settings(counts),
    )
    with file.open("x", encoding="utf-8") as opened:
        opened.write(text)
    return file


def _evenly(count: int) -> list[int]:
    """Numbers of at most :data:`LOOKED_AT` items, spread over all."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, LOOKED_AT))})


def _size(folder: Path) -> tuple[tuple[int, int], str]:
    """The size to store, and what the files have: the usual proportions, at most :data:`LARGEST` on the longer side."""
    paths, sizes = list_images(folder), []
    for number in _evenly(len(paths)):
        with suppress(ImageError):
            sizes.append(image_size(folder / paths[number]))
    if not sizes:
        raise ValueError(f"clean must be a folder of images, got {folder}: no image could be read among {len(paths)}")
    usual = [int(median(side)) for side in zip(*sizes, strict=True)]
    found = f"the files have {usual[0]}×{usual[1]}" + (" in the middle" if len(set(sizes)) > 1 else "")
    if max(usual) <= LARGEST:
        return (max(usual[0], SMALLEST), max(usual[1], SMALLEST)), found
    height, width = (max(16, 8 * round(side * LARGEST / max(usual) / 8)) for side in usual)
    return (height, width), found


def _counts(source: PairedFolders) -> dict[str, int]:
    """The number of pairs in each split; each must have one."""
    plan = source.plan()
    numbers = np.bincount(plan.split[plan.source], minlength=len(plan.splits))
    counts = {name: int(number) for name, number in zip(plan.splits, numbers, strict=True)}
    if empty := [name for name in ("train", "validation", "test") if not counts.get(name)]:
        raise ValueError(
            f"clean and changed must hold pairs to learn from, to select by and to check, got {sum(counts.values())} "
            f"pairs and none for {' and '.join(empty)}: add pairs, or sort them into folders train, validation and test"
        )
    return counts


def _channels(source: PairedFolders) -> int:
    """1 if all images looked at are grey, else 3."""
    looked_at = [source.make(range(unit, unit + 1)) for unit in _evenly(len(source.plan().split))]
    images = [part for made in looked_at if made.changed is not None for part in (made.clean, made.changed)]
    if not images:
        first = next(fault.reason for made in looked_at for fault in made.faults)
        raise ValueError(f"clean and changed must hold images, got no usable pair; the first fault: {first}")
    return 1 if all(part is None or bool((part == part[:, :1]).all()) for part in images) else 3


def _settings(counts: dict[str, int]) -> dict[str, object]:
    """Settings that follow from the number of pairs."""
    learned = counts["train"]
    batch = min(64, learned)
    steps = 100 * round(min(max(PASSES * learned / batch, STEPS[0]), STEPS[1]) / 100)
    return {
        "batch": batch,
        "steps": steps,
        "every": steps // 20,
        "latent": 32 if learned < 2000 else 128,
        "quantile": 0.95 if counts["validation"] >= 20 else 1.0,
        "certify": CERTIFY if counts["test"] >= CERTIFIABLE else "",
        "counts": f"{learned} pairs to learn from, {counts['validation']} to select weights and the radius by, "
        f"{counts['test']} to check." + (" That is few: expect a set that fits them alone." if learned < 200 else ""),
    }
