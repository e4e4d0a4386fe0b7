"""Robust accuracy under a fixed ensemble of strong attacks, on any perturbation sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from rich.table import Table
from torch import Tensor

from cvae import derive_seed
from cvae.files import atomic_file, read_tensors
from cvae.progress import Progress
from perturbsets._types import Labels, Model, Rows, Samples
from perturbsets.adversaries.adversary import Adversary
from perturbsets.ascents import APGD, RandomSearch, Square
from perturbsets.evaluation.accuracy import BATCH, correct_under
from perturbsets.evaluation.data import whole
from perturbsets.fingerprint import digest
from perturbsets.intervals import Interval, independent, share_interval
from perturbsets.model_call import check_call, class_logits, initial_seed, preserve_state
from perturbsets.objectives import DLR, CrossEntropy, Margin, StrongestWrong
from perturbsets.objectives.classification import class_numbers
from perturbsets.printing import Printed, Result, percent, percent_interval
from perturbsets.rows import check_count
from perturbsets.sets.base import PerturbationSet

ROBUST, MISCLASSIFIED = -1, -2
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Member(Printed):
    """One attack of the ensemble, named by set and attack; attacks that differ in their target only share a name."""

    name: str
    adversary: Adversary


@dataclass(frozen=True)
class Robustness(Result):
    """Robust accuracy under an ensemble, image by image.

    Attributes:
        members: Names of the attacks, in the order in which they were tried.
        broken_by: For each image the number of the first attack that succeeded, :data:`ROBUST` (-1) if none did, or
            :data:`MISCLASSIFIED` (-2) if the clean image is.
        images: The adversarial sample; the clean one where no attack succeeded.
        calls: Forward passes spent on each image.
        groups: Number of each image's independent unit; without them every image is its own.
    """

    members: tuple[str, ...]
    broken_by: Labels
    images: Samples
    calls: Tensor
    groups: Tensor | None = None

    @property
    def clean(self) -> Interval:
        """Clean accuracy with its interval over independent units."""
        return share_interval(self.broken_by != MISCLASSIFIED, self.groups)

    @property
    def accuracy(self) -> Interval:
        """Robust accuracy with its interval over independent units."""
        return share_interval(self.broken_by == ROBUST, self.groups)

    @property
    def broken(self) -> dict[str, int]:
        """Number of images on which each attack succeeded after all earlier ones had failed."""
        return {name: int((self.broken_by == number).sum()) for number, name in enumerate(self.members)}

    @property
    def sentence(self) -> str:
        """Robust accuracy with its interval, the number of images, and clean accuracy."""
        robust, clean = percent_interval(self.accuracy), percent(self.clean.mean)
        return f"Robust accuracy {robust} of {len(self.broken_by)}, clean {clean}"

    def table(self) -> Table:
        """Accuracy before the attacks, and after each of them with the number of images that it broke."""
        table, left = Table("attack", "broken", "accuracy after it"), int((self.broken_by != MISCLASSIFIED).sum())
        table.add_row("none", "", percent_interval(self.clean))
        for name, count in self.broken.items():
            left -= count
            table.add_row(name, str(count), percent(left / len(self.broken_by)))
        table.add_row("all", str(sum(self.broken.values())), percent_interval(self.accuracy))
        return table

    def summary(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "images": len(self.broken_by),
            "independent": independent(len(self.broken_by), self.groups),
            "clean": self.clean._asdict(),
            "accuracy": self.accuracy._asdict(),
            "broken": self.broken,
            "calls": int(self.calls.sum()),
        }


def ensemble(
    sets: Mapping[str, PerturbationSet],
    images: Samples,
    classes: int,
    *,
    steps: int = 100,
    queries: int = 5000,
    targets: int = 9,
) -> list[Member]:
    """The attacks of :func:`evaluate_robustness`: all sets are tried by one attack before the next attack.

    These are APGD on cross-entropy; APGD on targeted DLR (the targeted margin below 4 classes) towards the strongest
    min(targets, K - 1) wrong ones of K classes; and Square, or as many random draws as there are steps where it does
    not fit a set.

    References:
        Croce and Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks*, 2020, sec. 6 (AutoAttack, without FAB, whose targeted form adds nothing to APGD-T there).
    """
    climb, square = APGD(steps, stop_on_success=True), Square(queries, stop_on_success=True)
    kind, toward = ("dlr", DLR(targeted=True)) if classes >= 4 else ("margin", Margin(targeted=True))
    members = [Member(f"{name}: apgd-ce", Adversary(chosen, CrossEntropy(), climb)) for name, chosen in sets.items()]
    for name, chosen in sets.items():
        for rank in range(1, min(targets, classes - 1) + 1):
            adversary = Adversary(chosen, StrongestWrong(rank, objective=toward), climb)
            members.append(Member(f"{name}: apgd-{kind}-t", adversary))
    for name, chosen in sets.items():
        fits = square.misfit(chosen.select(torch.arange(len(images[:1]))).at(images[:1])) is None
        ascent = square if fits else RandomSearch(steps)
        members.append(Member(f"{name}: {'square' if fits else 'random'}", Adversary(chosen, Margin(), ascent)))
    return members


def evaluate_robustness(
    model: Model,
    images: Any,
    labels: Any = None,
    sets: PerturbationSet | Mapping[str, PerturbationSet] | None = None,
    *,
    fields: Sequence[str] | None = None,
    steps: int = 100,
    queries: int = 5000,
    targets: int = 9,
    groups: Tensor | None = None,
    batch: int = BATCH,
    folder: Path | str | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Robustness:
    """Attacks with a fixed ensemble, each member only the images on which all earlier ones failed.

    Args:
        model: The classifier; evaluated in evaluation mode and left as it was.
        images: Clean samples; or a data set or data loader of images and labels.
        labels: Their classes ``[B]``; left out where they come with the images, ``(model, data, sets)``.
        sets: A set, or several by name: an image counts as robust if it is so against every one.
        fields: Of a data set of mappings, the names of image and label.
        steps: Steps of each APGD.
        queries: Model calls of Square for each image.
        targets: Largest number of wrong classes that targeted APGD aims at.
        groups: Number of each image's independent unit, over which intervals are; by default every image is its own.
        batch: Images attacked at a time.
        folder: Where each batch's result is stored, so that an interrupted evaluation continues to the same result.
        generator: Gives the seed of all draws: its initial one, or 0 without a generator.
        progress: Whether to show a bar with the robust accuracy so far.

    Returns:
        Robust accuracy, an upper bound (see :func:`audit`), the attack that succeeded on each image, and model calls.

    Raises:
        TypeError: If images are neither a tensor nor data, or sets are none.
        ValueError: If samples, labels or logits are not as they must be, the folder holds another evaluation, or a set
            has an infinite radius.

    Example:
        >>> from torch import nn
        >>> from perturbsets import PixelBall
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> result = evaluate_robustness(model, x, y, PixelBall("linf", 0.1), steps=5, queries=10)
        >>> result.accuracy.mean <= result.clean.mean
        True
    """
    labels, sets = (None, labels) if sets is None else (labels, sets)
    named = _named(sets)
    images, labels, groups = whole(model, images, labels, fields, groups)
    check_call(model, images)
    check_count(named, len(images))
    classes, labels = _class_count(model, images[:1]), class_numbers(labels, images)
    members = ensemble(named, images, classes, steps=steps, queries=queries, targets=targets)
    names, seed = tuple(dict.fromkeys(member.name for member in members)), initial_seed(generator)
    if folder is not None:
        _claim(Path(folder), digest([model, images, labels, members, batch, seed]))
    right = correct_under(model, None, images, labels, batch=batch)
    broken_by, adversarial = torch.where(right, ROBUST, MISCLASSIFIED), images.detach().clone()
    calls = torch.ones_like(broken_by)
    with Progress(disable=not progress) as display:
        task = display.add_task("attacks", total=len(members))
        for number, member in enumerate(members):
            chunks = _left(broken_by, batch)
            for chunk, rows in enumerate(chunks):
                draws = torch.Generator().manual_seed(derive_seed(seed, number, chunk))
                attack = partial(_attacked, model, member.adversary, images, labels, rows, draws)
                name = f"{number:03d}-{chunk:05d}.safetensors"
                result = attack() if folder is None else _stored(Path(folder) / name, attack)
                won = rows[result["success"].to(rows.device)]
                broken_by[won] = names.index(member.name)
                adversarial[won] = result["images"].to(images)
                calls[rows] += result["calls"].to(calls.device)
                robust = float((broken_by == ROBUST).cpu().double().mean())
                done = number + (chunk + 1) / len(chunks)
                display.update(task, completed=done, description=f"{member.name}: {robust:.1%} robust")
    return Robustness(names, broken_by, adversarial, calls, groups)


def _left(broken_by: Tensor, batch: int) -> tuple[Tensor, ...]:
    """Batches of the images on which no attack succeeded yet."""
    rows = (broken_by == ROBUST).nonzero()[:, 0]
    return rows.split(batch) if len(rows) else ()


def _named(sets: Any) -> dict[str, PerturbationSet]:
    """Sets by name; one set has the name of its norm or class."""
    if not (isinstance(sets, Mapping) or hasattr(sets, "at")):
        raise TypeError(
            f"sets must be a perturbation set or several by name, got {type(sets).__name__}: write (model, images, "
            "labels, sets), or (model, data, sets) for a data set or data loader"
        )
    named = dict(sets) if isinstance(sets, Mapping) else {str(getattr(sets, "norm", type(sets).__name__)): sets}
    if not named:
        raise ValueError("sets must hold at least one perturbation set, got none")
    return named


def _claim(folder: Path, name: str) -> None:
    """Marks a folder as that of an evaluation, and refuses one of another."""
    mark = folder / "evaluation.txt"
    if not mark.is_file():
        with atomic_file(mark) as file:
            file.write_text(name)
    elif mark.read_text() != name:
        raise ValueError(
            f"folder {folder} holds an evaluation of another model, data or settings: choose another folder"
        )


def _stored(file: Path, make: Callable[[], Tensors]) -> Tensors:
    """Tensors from a file if it was finished before; otherwise they are made and written."""
    if file.is_file():
        try:
            return read_tensors(file)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{file} was damaged ({error}): remove it, and its part is made again") from error
    made = make()
    with atomic_file(file) as temporary:
        safetensors.torch.save_file({key: value.cpu().contiguous() for key, value in made.items()}, temporary)
    return made


def _class_count(model: Model, images: Samples) -> int:
    """Number of classes of a classifier of images."""
    if not len(images):
        raise ValueError("images must hold at least one image, got none")
    with preserve_state(model, images) as bare, torch.no_grad():
        logits = class_logits(bare, images)
    if logits.ndim != 2:
        raise ValueError(
            f"model must return logits [B, K], one class per image, for this ensemble, got {list(logits.shape)}: for "
            "label maps write evaluate({'m': model}, {'robust': Adversary(perturbations, SegmentationCrossEntropy())}, "
            "images, labels)"
        )
    return logits.shape[1]


def _attacked(
    model: Model, adversary: Adversary, images: Samples, labels: Labels, rows: Rows, generator: torch.Generator
) -> dict[str, Tensor]:
    """What is stored of an attack on some images: where it succeeded, its samples there, and its cost."""
    result = adversary.select(rows)(model, images[rows], labels[rows], generator=generator)
    return {"success": result.success, "images": result.images[result.success], "calls": result.calls}
