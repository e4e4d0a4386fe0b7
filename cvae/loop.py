"""One training loop: the same numbers after a kill, and on one process as on many.

Everything a step depends on besides the weights, its batch, its noise and its learning rate, is a function
of the seed and the step's number. So a run that was killed goes on as if it had not been, with nothing to
restore but tensors; and since each process takes its rows of one global batch and of its noise, their number
changes nothing but rounding. Two things are outside of that: draws by :meth:`Draws.generator` differ from
process to process, and modules that draw themselves (dropout) take torch's global state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from cvae.checkpoint import Progress, load_checkpoint, save_checkpoint
from cvae.metrics import MetricLog, Record
from cvae.progress import progress_bar
from cvae.seeds import derive_seed

LOG_EVERY = 10

Batch = Any
Loss = Callable[[nn.Module, Batch, "Draws"], Mapping[str, Tensor]]
Validation = Callable[[nn.Module], Record]


@dataclass(frozen=True)
class LoopSettings:
    """How to train.

    Args:
        steps: Number of optimizer steps, at least 1.
        batch: Images per step over all processes together, at least 1.
        learning_rate: Peak of the learning rate, above 0; it rises linearly, then falls as a cosine.
        warmup: Share of the steps in which the learning rate rises, in [0, 1).
        weight_decay: AdamW's decoupled decay, 0 or more.
        clip: Largest norm of the gradient, above 0 (``inf`` leaves it alone).
        validate_every: Steps between validations, which are also when a checkpoint is written.
        workers: Processes that load batches ahead; 0 loads in the training process.
        mixed_precision: ``"no"`` or ``"bf16"``.
        seed: Seed of batches and noise.

    Raises:
        ValueError: If a number is outside its range; all such faults are listed.
    """

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    validate_every: int = 100
    workers: int = 0
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        rules = self._rules().items()
        faults = [f"{name} must be {want}, got {getattr(self, name)}" for name, (ok, want) in rules if not ok]
        if faults:
            raise ValueError("; ".join(faults))

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """Whether each number is in its range, and what the range is."""
        return {
            "steps": (self.steps >= 1, "at least 1"),
            "batch": (self.batch >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "warmup": (0 <= self.warmup < 1, "a share in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip": (self.clip > 0, "above 0"),
            "validate_every": (self.validate_every >= 1, "at least 1"),
            "workers": (self.workers >= 0, "0 or more"),
        }

    def rate(self, step: int) -> float:
        """Learning rate of a step, as a share of the peak."""
        rising = self.warmup * self.steps
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (self.steps - rising)))


@dataclass(frozen=True)
class Draws:
    """The randomness of one step, as seen by one process.

    Args:
        step: Number of the step, from 0.
        steps: Number of all steps.
        seed: Seed of the run.
        batch: Images in the global batch.
        rank: Number of this process.
        processes: How many processes there are.
        device: Where draws shall lie.
    """

    step: int
    steps: int
    seed: int
    batch: int
    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def done(self) -> float:
        """Share of the steps that lies behind, in [0, 1)."""
        return self.step / self.steps

    def normal(self, size: int) -> Tensor:
        """Standard normal draws, ``[B, size]``: this process's rows of the global batch's draws."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "noise", self.step))
        noise = torch.randn(self.batch, size, generator=generator)
        return noise[self.rank :: self.processes].to(self.device)

    def generator(self) -> torch.Generator:
        """A generator for all other draws of this step, different on each process."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "draws", self.step, self.rank))


class _Steps(Dataset[Batch]):
    """The batch of each step, so that a data loader can fetch steps ahead."""

    def __init__(self, data: Any, settings: LoopSettings, rank: int, processes: int) -> None:
        self.data, self.settings, self.rank, self.processes = data, settings, rank, processes
        self.batch = min(settings.batch, len(data) // processes * processes)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed, "order", epoch))
        return torch.randperm(len(self.data), generator=generator)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self.data) // self.batch)
        rows = self._order(epoch)[place * self.batch : (place + 1) * self.batch]
        return fetch(self.data, rows[self.rank :: self.processes])


def fetch(data: Any, indices: Tensor) -> Batch:
    """One batch of a data set: by its own ``batch`` method if it has one, else collated from items."""
    if hasattr(data, "batch"):
        return data.batch(indices)
    return default_collate([data[int(index)] for index in indices])


def train(
    model: nn.Module,
    loss: Loss,
    data: Any,
    settings: LoopSettings,
    *,
    validate: Validation | None = None,
    folder: Path | str | None = None,
    fingerprint: str = "",
    accelerator: Accelerator | None = None,
    title: str = "training",
    progress: bool = False,
) -> list[Record]:
    """Trains a model in place; it ends with its best weights, in evaluation mode.

    Args:
        model: What to train.
        loss: Called as ``loss(model, batch, draws)``; returns scalars, ``"loss"`` among them. The model it is
            given may be wrapped for several processes.
        data: A map-style data set; one with ``batch(indices)`` is asked for whole batches.
        settings: Steps, batch size, learning rate and the like.
        validate: Called with the bare model in evaluation mode without gradients; returns scalars, and
            the weights with the lowest ``"score"`` are kept. Without it the last weights are kept.
        folder: Where ``checkpoint.safetensors`` and ``metrics.jsonl`` go. A run that finds a checkpoint there
            continues to the same numbers as if it had not stopped.
        fingerprint: Text added to the settings that a checkpoint must match.
        accelerator: From Hugging Face accelerate; made from the settings if not given.
        title: Label of the progress bar.
        progress: Whether to show one.

    Returns:
        The records logged.

    Raises:
        ValueError: If there are fewer items than processes, if the batch cannot be shared evenly, or if
            the folder holds a checkpoint of other settings.
        FloatingPointError: If the loss becomes NaN or infinite; the message names the step and the likely
            cause.
    """
    accelerator = accelerator or Accelerator(mixed_precision=settings.mixed_precision)
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    if settings.batch % processes:
        raise ValueError(f"batch must be a multiple of the {processes} processes, got {settings.batch}")
    if len(data) < processes:
        raise ValueError(f"data must hold at least one item a process, got {len(data)} for {processes}")
    model.to(device)
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
    )
    folder = None if folder is None else Path(folder)
    checkpoint = None if folder is None else folder / "checkpoint.safetensors"
    text = f"{settings} {fingerprint}".strip()
    state = Progress() if checkpoint is None else load_checkpoint(checkpoint, model, optimizer, text)
    lead = accelerator.is_main_process
    log = MetricLog(folder / "metrics.jsonl" if folder is not None and lead else None, state.step)
    if state.step < settings.steps:
        wrapped, wrapped_optimizer = accelerator.prepare(model, optimizer)
        batches = _Steps(data, settings, rank, processes)
        loader = DataLoader(
            batches, batch_size=None, sampler=range(state.step, settings.steps), num_workers=settings.workers
        )
        pending: list[dict[str, Tensor]] = []
        wrapped.train()
        with progress_bar(title, settings.steps, state.step, shown=progress and lead) as advance:
            for step, batch in enumerate(loader, state.step):
                draws = Draws(step, settings.steps, settings.seed, batches.batch, rank, processes, device)
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * settings.rate(step)
                scalars = dict(loss(wrapped, _moved(batch, device), draws))
                accelerator.backward(scalars["loss"])
                scalars["gradient_norm"] = nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                wrapped_optimizer.step()
                wrapped_optimizer.zero_grad(set_to_none=True)
                pending.append({name: torch.as_tensor(value).detach() for name, value in scalars.items()})
                state.step = step + 1
                due = state.step % settings.validate_every == 0 or state.step == settings.steps
                if due or len(pending) == LOG_EVERY:
                    log.add(_summary(pending, state.step, accelerator, model, batch))
                    pending.clear()
                if due:
                    if validate is not None:
                        log.add({"step": state.step, **_validated(model, validate)})
                        wrapped.train()
                        state.offer(log.records[-1]["score"], model)
                    if checkpoint is not None and lead:
                        save_checkpoint(checkpoint, model, optimizer, state, text)
                advance(state.step, log.records)
        _unwrap(accelerator, wrapped)
    if state.best is not None:
        model.load_state_dict(state.best)
    model.eval()
    return log.records


def _unwrap(accelerator: Accelerator, wrapped: nn.Module) -> None:
    """Takes accelerate's wrappers off again, so that the model's forward is its own."""
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    accelerator.free_memory()


def _moved(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    moved = [_moved(part, device) for part in batch]
    return type(batch)(*moved) if hasattr(batch, "_fields") else tuple(moved)


def _validated(model: nn.Module, validate: Validation) -> Record:
    model.eval()
    with torch.no_grad():
        return validate(model)


def _summary(
    pending: list[dict[str, Tensor]], step: int, accelerator: Accelerator, model: nn.Module, batch: Batch
) -> Record:
    """Means over the last steps and all processes; refuses numbers that are not finite."""
    table = torch.stack([torch.stack([value.float() for value in entry.values()]) for entry in pending])
    table = accelerator.reduce(table, reduction="mean").cpu()
    broken = (~table.isfinite().all(1)).nonzero()
    if len(broken):
        first = step - len(pending) + int(broken[0]) + 1
        raise FloatingPointError(
            f"the loss or its gradient became NaN or infinite at step {first}: {_cause(model, batch)}"
        )
    return {"step": step, **dict(zip(pending[0], table.mean(0).tolist(), strict=True))}


def _cause(model: nn.Module, batch: Batch) -> str:
    parts = [batch] if isinstance(batch, Tensor) else list(batch)
    if any(part.is_floating_point() and not part.isfinite().all() for part in parts if isinstance(part, Tensor)):
        return "the batch itself holds NaN or infinity; check the data"
    if all(parameter.isfinite().all() for parameter in model.parameters()):
        return "the weights are still finite, so the loss overflowed; try a lower learning_rate or mixed_precision='no'"
    return "the weights diverged; try a lower learning_rate, a longer warmup or a smaller clip"
