"""Loading learned perturbation sets: those that come with the package, those of runs, and those of the hub."""

from __future__ import annotations

import difflib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
import yaml
from torch import Tensor

from cvae.files import atomic_folder, read_tensors
from perturbsets.sets.latent import LatentBall

PRETRAINED = Path(__file__).parent / "pretrained_sets"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SECTIONS = ("seed", "output", "source", "change", "unseen", "pairs", "model", "fit", "set", "check")  # that make a set
FILES = ("config.json", "set.json", "model.safetensors", "bank.safetensors", "learned_from.safetensors")


def load(name: Path | str) -> LatentBall:
    """Loads a learned set: weights, radius and bank.

    Args:
        name: A name that :func:`pretrained` lists; a folder written by ``LatentBall.save``; a run folder, which keeps
            its set in ``set/``; or ``owner/name`` of a repository on the Hugging Face hub with the files of such a
            folder. Write ``./name`` for a folder that has the name of a pretrained set.

    Returns:
        The set in single precision, ready to be bound to images.

    Raises:
        FileNotFoundError: If there is no set of that name, or a file of it is missing.
        ValueError: If a file is corrupted or foreign.

    Example:
        >>> import torch
        >>> region = load("digits-rts").at(torch.rand(4, 1, 28, 28))
        >>> region.decode(region.sample()).shape
        torch.Size([4, 1, 28, 28])
    """
    folder = _folder(name)
    inside = folder / "set"
    found = LatentBall.load(inside if (inside / "set.json").is_file() else folder)
    if found.bank is None or found.bank.dtype != torch.float16:
        return found
    return replace(found, bank=found.bank.float())  # the model's weights are converted as they are loaded


def pretrained() -> dict[str, str]:
    """The learned sets that come with the package: name to what it holds, size of the images, and radius.

    Example:
        >>> pretrained()["digits-rts"]
        'rotation, scale and shift of handwritten digits; images 1x28x28, radius 8.31'
    """
    described = {}
    for folder in sorted(path for path in PRETRAINED.iterdir() if path.is_dir()):
        about, config, learned = (
            json.loads((folder / f"{name}.json").read_text()) for name in ("about", "config", "set")
        )
        size = "x".join(str(config[name]) for name in ("channels", "height", "width"))
        described[folder.name] = f"{about['title']}; images {size}, radius {learned['radius']:.3g}"
    return described


def pack(run: Path | str, folder: Path | str, *, title: str, command: str) -> Path:
    """Copies the set of a finished run into a small folder: the tensors in half precision, with what made them.

    Beside the files of ``LatentBall.save`` the folder holds the sections of the recipe that made the set in
    ``recipe.yaml``, the figures of all criteria in ``criteria.json``, and title, command, commit and versions in
    ``about.json``.

    Args:
        run: The folder of the run, whose pairs, fit and check are finished.
        folder: The new folder, which is returned; an existing one is replaced.
        title: What the set holds, in a few words.
        command: The command that carries the recipe out.

    Raises:
        FileNotFoundError: If the run lacks a file.
        OSError: If the folder cannot be written.
    """
    run, made_by = Path(run), json.loads((Path(run) / "run.json").read_text())
    about = {"title": title, "command": command, "commit": made_by["commit"], "versions": made_by["versions"]}
    with atomic_folder(folder) as made:
        for file in (run / "set" / name for name in FILES):
            if file.suffix == ".json":
                shutil.copyfile(file, made / file.name)
            elif file.exists():
                tensors = {key: _half(tensor) for key, tensor in read_tensors(file).items()}
                safetensors.torch.save_file(tensors, made / file.name, metadata={"format": "pt"})
        recipe = yaml.safe_load((run / "recipe.yaml").read_text())
        recipe = {name: recipe[name] for name in SECTIONS if recipe.get(name) is not None}
        (made / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        shutil.copyfile(run / "checks" / "checks.json", made / "criteria.json")
        (made / "about.json").write_text(json.dumps(about, indent=2) + "\n")
    return Path(folder)


def _folder(name: Path | str) -> Path:
    """Where a set lies, after a download if it is on the hub."""
    folder, known = Path(name), pretrained()
    if isinstance(name, str) and name in known:
        return PRETRAINED / name
    if folder.is_dir():
        return folder
    failure: Exception | None = None
    if isinstance(name, str) and HUB_ID.fullmatch(name) and not folder.parent.is_dir():
        import huggingface_hub

        try:
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES)))
        except (OSError, ValueError) as error:  # no such repository, no network, no valid name
            failure = error
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    answer = "" if failure is None else f" (which answers: {failure})"
    raise FileNotFoundError(
        f"there is no learned set {str(name)!r}: {hint}load takes a name of perturbsets.pretrained() "
        f"({', '.join(known)}), a folder written by `LatentBall.save`, the folder of a run, or owner/name of a "
        f"repository on the Hugging Face hub{answer}"
    ) from failure


def _half(tensor: Tensor) -> Tensor:
    """Half precision for what fills the file; single numbers, such as the likelihood's scale, stay as they are."""
    return tensor.half() if tensor.dtype == torch.float32 and tensor.numel() > 1 else tensor
