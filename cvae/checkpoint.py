"""Saving and loading of models and of unfinished trainings: safetensors and JSON, strict, never a pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import safetensors
import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import Tensor, nn

from cvae.files import atomic_file, atomic_files, check_readable, read_tensors

T = TypeVar("T", bound="Pretrained")
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Pretrained(nn.Module, PyTorchModelHubMixin, library_name="perturbsets", tags=["perturbation-sets"]):  # type: ignore[misc, call-arg]
    """A module with ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    Unlike the mixin of ``huggingface_hub``, which falls back to a pickle, it reads only safetensors and refuses tensors
    that do not fit. A subclass takes plain JSON values as constructor arguments; they are stored beside its weights
    under the name of the class, so that the base class can load any of them.
    """

    architectures: ClassVar[dict[str, type[Pretrained]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.architectures[cls.__name__] = cls

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *, repo_id: str | None = None, push_to_hub: bool = False, **options: Any
    ) -> str | None:
        """Saves weights and constructor arguments; an earlier version stays until the new one is complete.

        Other files in the folder stay. Further options are those of the mixin of ``huggingface_hub``; ``repo_id`` is
        the folder's name if not given.

        Returns:
            The address of the commit on the hub, if pushed.

        Raises:
            OSError: If the disk is full or the folder is not writable.
        """
        folder = Path(save_directory)
        with atomic_files(folder) as temporary:
            commit: str | None = super().save_pretrained(
                temporary, repo_id=repo_id or folder.name, push_to_hub=push_to_hub, **options
            )
        return commit

    def _save_pretrained(self, save_directory: Path) -> None:
        config = {"architecture": type(self).__name__, **dict(self._hub_mixin_config or {})}  # type: ignore[arg-type, call-overload]
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        safetensors.torch.save_file(tensors, save_directory / WEIGHTS, metadata={"format": "pt"})
        (save_directory / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls: type[T],
        pretrained_model_name_or_path: str | Path,
        *,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> T:
        """Loads a model, in evaluation mode; called on a base class, the subclass that the folder names.

        It is read from a folder written by ``save_pretrained``, or from ``owner/name``, a repository on the Hugging
        Face hub, for which arguments after the device are those of ``hf_hub_download``.

        Raises:
            FileNotFoundError: If the folder or one of its files is missing.
            ValueError: If a file is corrupted, of another format, or does not fit the architecture.
        """
        signature(hf_hub_download).bind("repository", "file", **options)  # refuses what is unknown
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            if folder.exists() or len(folder.parts) != 2 or folder.is_absolute() or ".." in folder.parts:
                raise FileNotFoundError(
                    f"pretrained_model_name_or_path must be a folder written by `save_pretrained` or the "
                    f"owner/name of a hub repository, got {str(folder)!r}, which is neither"
                )
            for name in (CONFIG, WEIGHTS):
                file = hf_hub_download(repo_id=folder.as_posix(), filename=name, **options)
            folder = Path(file).parent
        return cls._read(folder / CONFIG, folder / WEIGHTS, str(device))

    @classmethod
    def _read(cls: type[T], config_file: Path, weights_file: Path, device: str) -> T:
        for file in (config_file, weights_file):
            if not file.is_file():
                raise FileNotFoundError(
                    f"{file.parent} holds no {file.name}, so it was not written by `save_pretrained`; it "
                    f"holds {sorted(path.name for path in file.parent.iterdir())}. Pickled weights (.bin, .pt, "
                    ".pth, .ckpt) are never read: load them where you trust them and call `save_pretrained`"
                )
            check_readable(file)
        try:
            config = json.loads(config_file.read_text())
            name = config.pop("architecture")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{config_file} is not the JSON that `save_pretrained` writes ({error!r}); save the model again"
            ) from error
        kind = cls.architectures.get(name)
        if kind is None or not issubclass(kind, cls):
            known = sorted(key for key, value in cls.architectures.items() if issubclass(value, cls))
            raise ValueError(
                f"{config_file} describes a {name!r}, expected one of {known}; import the module that "
                "defines it before loading"
            )
        try:
            tensors = read_tensors(weights_file, device)
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(
                f"{weights_file} is not a whole safetensors file ({error}): it is corrupted, truncated or a "
                "pickle under another name. Fetch or save it again"
            ) from error
        try:
            model = kind(**{key: _tuples(value) for key, value in config.items()}).to(device)
        except TypeError as error:
            raise ValueError(f"{config_file} has arguments that {name} does not take: {error}") from error
        _load_strictly(model, tensors, weights_file)
        return model.eval()  # type: ignore[return-value]


def _tuples(value: Any) -> Any:
    """A constructor argument with tuples in place of JSON's lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _load_strictly(model: nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
    expected = model.state_dict()
    faults = [f"missing {name}" for name in expected if name not in tensors]
    faults += [f"unknown {name}" for name in tensors if name not in expected]
    faults += [
        f"{name} is {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    faults += [
        f"{name} holds NaN or infinity"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    if faults:
        listed = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise ValueError(f"{file} does not hold the weights of this {type(model).__name__}: {listed}")
    model.load_state_dict(tensors)


@dataclass
class TrainingState:
    """How far a training has come: the steps done, the lowest validation score and the weights at that score."""

    step: int = 0
    best_score: float = float("inf")
    best: dict[str, Tensor] | None = None

    def offer(self, score: float, model: nn.Module) -> None:
        """Keeps the model's weights if they are the best so far."""
        if score < self.best_score or self.best is None:
            self.best_score = score
            self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState, settings: str
) -> None:
    """Writes weights, best weights, optimizer state and progress to one safetensors file, whole or not at all.

    The settings are text that a later run must match to continue from this file.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (state.best or {}).items()}
    entries = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{key}": value for i, entry in entries.items() for key, value in entry.items()}
    about = {"step": state.step, "best_score": state.best_score, "settings": settings}
    with atomic_file(file) as temporary:
        safetensors.torch.save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            temporary,
            metadata={"checkpoint": json.dumps(about)},
        )


def load_checkpoint(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: str) -> TrainingState:
    """Restores a model and its optimizer from a checkpoint; without the file, training starts afresh.

    Raises:
        ValueError: If the file is corrupted, or belongs to other settings or another model.
    """
    if not file.exists():
        return TrainingState()
    check_readable(file)
    try:
        with safetensors.safe_open(file, "pt") as reader:
            about: dict[str, Any] = json.loads((reader.metadata() or {})["checkpoint"])
            step, best_score, former = about["step"], about["best_score"], about["settings"]
            tensors = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no whole checkpoint ({error}): delete it to start afresh") from error
    if former != settings:
        raise ValueError(
            f"{file} was made with other settings:\n  then {former}\n  now  {settings}\n"
            "Continue with the former settings, choose another folder, or remove this one to begin anew"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    try:
        model.load_state_dict(part("model."))
    except RuntimeError as error:
        raise ValueError(f"{file} holds another model: {error}. Choose another folder") from error
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part("optimizer.").items():
        index, key = name.split(".", 1)
        entries.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return TrainingState(step, best_score, part("best.") or None)
