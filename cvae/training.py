"""The training loop: the same numbers after a kill, and on one process as on many.

Batch, noise and learning rate of a step are functions of the seed and the step's number. So a killed run that continues
has only tensors to restore; and as each process takes its rows of one global batch and of its noise, the number of
processes changes nothing but rounding. Two exceptions: draws by :meth:`Draws.generator` differ between processes, and
modules that draw themselves (dropout) use torch's global state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, recursively_apply, send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from cvae.batches import Batch, Draws, Steps, check_map_style
from cvae.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from cvae.progress import MetricLog, Record, progress_bar

LOG_EVERY = 10
SCHEDULED = ("lr", "betas")  # what torch's schedules change in AdamW

Scalars = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch, Draws], Iterable[Scalars]]
Validation = Callable[[nn.Module], Record]
Stop = Callable[[list[Record]], bool]
Schedule = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a training.

    Args:
        steps: Number of batches, at least 1; most losses make one optimizer step of each.
        batch: Images per step over all processes together, at least 1.
        learning_rate: Peak of the learning rate, above 0; it rises linearly, then falls as a cosine.
        warmup: Share of the steps in which the learning rate rises, in [0, 1).
        weight_decay: AdamW's decoupled decay, 0 or more.
        clip: Largest norm of the gradient, above 0 (``inf`` for no limit).
        validate_every: Steps between validations, at which a checkpoint is written too.
        workers: Processes that load batches ahead; 0 loads in the training process.
        mixed_precision: ``"no"`` or ``"bf16"``.
        seed: Seed of batches and noise.

    Raises:
        ValueError: If numbers are outside their ranges; all of them are listed.
    """

    steps: int = 1000
    _: KW_ONLY
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


def train(
    model: nn.Module,
    loss: Loss,
    data: Any,
    settings: LoopSettings,
    *,
    validate: Validation | None = None,
    stop: Stop | None = None,
    schedule: Schedule | None = None,
    folder: Path | str | None = None,
    fingerprint: str = "",
    accelerator: Accelerator | None = None,
    title: str = "training",
    progress: bool = False,
) -> list[Record]:
    """Trains a model in place and gives the records logged; it ends with its best weights, in evaluation mode.

    Args:
        model: What to train.
        loss: Called as ``loss(model, batch, draws)``; yields scalars, ``"loss"`` among them, once for each optimizer
            step on the batch. When it is resumed after a yield, that step is done and the gradients are cleared. The
            model it gets may be wrapped for several processes.
        data: A map-style data set; one with ``batch(indices)`` is asked for whole batches. Tensors go to the device.
        settings: Steps, batch size, learning rate and the like.
        validate: Called with the bare model in evaluation mode without gradients; returns scalars, and the weights with
            the lowest ``"score"`` are kept. Without it the last weights are kept.
        stop: Called after each validation with the records so far; true ends the training. It is called again when a
            run continues, so it must depend on the records alone.
        schedule: From an optimizer to its ``torch.optim.lr_scheduler``, stepped once a batch; it replaces the rise and
            fall of the settings' rate.
        folder: Where ``checkpoint.safetensors`` and ``metrics.jsonl`` go. A run that finds a checkpoint there continues
            to the same numbers as if it had not stopped.
        fingerprint: Text added to the settings that a checkpoint must match.
        accelerator: From Hugging Face accelerate; made from the settings if not given.
        title: Label of the progress bar.
        progress: Whether to show one.

    Raises:
        TypeError: If data, loss or schedule are of another kind.
        ValueError: If there are fewer items than processes, the batch cannot be shared evenly, the folder holds a
            checkpoint of other settings, the schedule is too short, or ``stop`` is given without ``validate``.
        FloatingPointError: If the loss becomes NaN or infinite; the message names the step and the likely cause.
    """
    accelerator = accelerator or Accelerator(mixed_precision=settings.mixed_precision)
    if settings.batch % accelerator.num_processes:
        raise ValueError(f"batch must be a multiple of the {accelerator.num_processes} processes, got {settings.batch}")
    check_map_style(data)
    if len(data) < accelerator.num_processes:
        raise ValueError(f"data must hold at least one item a process, got {len(data)} for {accelerator.num_processes}")
    if stop is not None and validate is None:
        raise ValueError("stop must come with validate, got none: it judges the records of validations")
    rates, schedule_text = _rates(settings, schedule)
    model.to(accelerator.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=accelerator.device.type in ("cpu", "cuda"),
    )
    folder = None if folder is None else Path(folder)
    checkpoint = None if folder is None else folder / "checkpoint.safetensors"
    text = " ".join(part for part in (str(settings), fingerprint, schedule_text) if part)
    state = TrainingState() if checkpoint is None else load_checkpoint(checkpoint, model, optimizer, text)
    lead = accelerator.is_main_process
    log = MetricLog(folder / "metrics.jsonl" if folder is not None and lead else None, state.step)
    training = _Training(model, optimizer, settings, accelerator, state, log, validate, stop)
    if state.step < settings.steps and not (state.best is not None and training.stopped()):
        with progress_bar(title, settings.steps, state.step, shown=progress and lead) as advance:
            for due in training.steps(loss, data, rates):
                if due and checkpoint is not None and lead:
                    save_checkpoint(checkpoint, model, optimizer, state, text)
                advance(state.step, log.records)
                if due and training.stopped():
                    break
        accelerator.unwrap_model(training.wrapped, keep_fp32_wrapper=False)  # the model's forward is its own again
        accelerator.free_memory()
    if state.best is not None:
        model.load_state_dict(state.best)
    model.eval()
    return log.records


def _rates(settings: LoopSettings, schedule: Schedule | None) -> tuple[list[dict[str, Any]], str]:
    """The optimizer's options at each step, and text that identifies them where the settings do not."""
    if schedule is None:
        return [{"lr": settings.learning_rate * settings.rate(step)} for step in range(settings.steps)], ""
    table = tabulate(schedule, settings.steps, settings.learning_rate)
    return table, f"schedule={hashlib.sha256(repr(table).encode()).hexdigest()[:16]}"


def tabulate(schedule: Schedule, steps: int, learning_rate: float) -> list[dict[str, Any]]:
    """The optimizer's options that a schedule of torch sets, step by step.

    The schedule, for example ``lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=1000)``, is given an
    optimizer of the learning rate, and stepped once between two steps. A run that continues looks up its step instead
    of stepping a schedule forward, so its numbers are the same.

    Raises:
        TypeError: If ``schedule`` returns no scheduler.
        ValueError: If the schedule depends on more than the step's number, or ends before the last step.
    """
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(()))], learning_rate)
    scheduler = schedule(optimizer)
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            "schedule must make a torch.optim.lr_scheduler.LRScheduler from an optimizer, got "
            f"{type(scheduler).__name__}: give e.g. `lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps)`"
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "schedule must depend on the step alone, so that a killed run continues to the same weights, got "
            "ReduceLROnPlateau: use one with milestones, e.g. MultiStepLR"
        )
    optimizer.step()  # changes nothing without gradients; schedules warn unless a step came first
    table: list[dict[str, Any]] = []
    for step in range(steps):
        try:
            if step:
                scheduler.step()
        except ValueError as error:
            raise ValueError(
                f"schedule must last for {steps} steps, got a {type(scheduler).__name__} that ends before step "
                f"{step + 1}: {error}"
            ) from error
        table.append({key: optimizer.param_groups[0][key] for key in SCHEDULED})
    return table


@dataclass
class _Training:
    """A training in progress."""

    model: nn.Module
    optimizer: Optimizer
    settings: LoopSettings
    accelerator: Accelerator
    state: TrainingState
    log: MetricLog
    validate: Validation | None
    stop: Stop | None

    def steps(self, loss: Loss, data: Any, rates: list[dict[str, Any]]) -> Iterator[bool]:
        """Trains step by step; yields whether a validation was due."""
        settings, state, accelerator = self.settings, self.state, self.accelerator
        self.wrapped, optimizer = accelerator.prepare(self.model, self.optimizer)
        rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
        batches = Steps(data, settings.batch, settings.seed, rank, processes)
        loader = DataLoader(
            batches, batch_size=None, sampler=range(state.step, settings.steps), num_workers=settings.workers
        )
        pending: list[dict[str, Tensor]] = []
        self.wrapped.train()
        for step, batch in enumerate(loader, state.step):
            draws = Draws(step, settings.steps, settings.seed, batches.batch, rank, processes, device)
            for group in self.optimizer.param_groups:
                group.update(rates[step])
            losses = loss(self.wrapped, send_to_device(batch, device, non_blocking=True), draws)
            pending.append(self._update(losses, optimizer))
            state.step = step + 1
            due = state.step % settings.validate_every == 0 or state.step == settings.steps
            if due or len(pending) == LOG_EVERY:
                self.log.add(self._summary(pending, batch))
                pending.clear()
            if due:
                self._validate()
            yield due

    def stopped(self) -> bool:
        """Whether to end; the main process decides, as it alone has the records of a run that continues."""
        if self.stop is None:
            return False
        ends = self.accelerator.is_main_process and self.stop(self.log.records)
        return bool(self.accelerator.reduce(torch.tensor(float(ends), device=self.accelerator.device)))

    def _update(self, losses: Any, optimizer: Any) -> dict[str, Tensor]:
        """Makes the optimizer steps of one batch; returns the means of their scalars."""
        updates: list[dict[str, Tensor]] = []
        for scalars in losses:
            if not isinstance(scalars, Mapping) or "loss" not in scalars:
                raise TypeError(
                    f'loss must yield mappings of scalars with a "loss", one an optimizer step, got {scalars!r}: write '
                    '`yield {"loss": ...}` instead of `return {"loss": ...}`'
                )
            self.accelerator.backward(scalars["loss"])
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            logged = {**scalars, "gradient_norm": norm}
            updates.append({name: torch.as_tensor(value).detach().float() for name, value in logged.items()})
        if not updates:
            raise TypeError('loss must yield at least once a batch, got nothing: write `yield {"loss": ...}`')
        return {name: torch.stack([update[name] for update in updates]).mean(0) for name in updates[0]}

    def _validate(self) -> None:
        if self.accelerator.num_processes > 1:  # all keep the model of the first process, running statistics too
            for buffer in self.model.buffers():
                broadcast(buffer)
        if self.validate is not None:
            self.model.eval()
            with torch.no_grad():
                record = self.validate(self.model)
            self.log.add({"step": self.state.step, **record})
            self.wrapped.train()
            self.state.offer(record["score"], self.model)

    def _summary(self, pending: list[dict[str, Tensor]], batch: Batch) -> Record:
        """Means over the last steps and all processes; refuses numbers that are not finite."""
        table = torch.stack([torch.stack(list(entry.values())) for entry in pending])
        table = self.accelerator.reduce(table, reduction="mean").cpu()
        broken = (~table.isfinite().all(1)).nonzero()
        if len(broken):
            first = self.state.step - len(pending) + int(broken[0]) + 1
            raise FloatingPointError(
                f"the loss or its gradient became NaN or infinite at step {first}: {_cause(self.model, batch)}"
            )
        return {"step": self.state.step, **dict(zip(pending[0], table.mean(0).tolist(), strict=True))}


def _cause(model: nn.Module, batch: Batch) -> str:
    parts: list[Tensor] = []
    recursively_apply(parts.append, batch)
    if any(part.is_floating_point() and not part.isfinite().all() for part in parts):
        return "the batch itself holds NaN or infinity; check the data"
    if all(parameter.isfinite().all() for parameter in model.parameters()):
        return "the weights are still finite, so the loss overflowed; try a lower learning_rate or mixed_precision='no'"
    return "the weights diverged; try a lower learning_rate, a longer warmup or a smaller clip"
