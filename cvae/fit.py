"""Learning a perturbation set: maximising the evidence lower bound over pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_dtype

from cvae.batches import Batch, Draws, Parts, derive_seed
from cvae.model import CVAE
from cvae.progress import Record
from cvae.training import LoopSettings, Scalars, train

SHARP = 0.3  # pixels: a blur narrower than this leaves a pixel 98 % of its weight


@dataclass(frozen=True)
class FitSettings(LoopSettings):
    """Settings of :func:`cvae.fit`; the others are those of :class:`cvae.LoopSettings`.

    Args:
        beta: Final weight of the KL divergence, above 0; 1 gives the evidence lower bound.
        beta_warmup: Share of the steps in which the weight rises from 0, in [0, 1].
        blur: Standard deviation, in pixels, of a Gaussian blur that the likelihood applies to images at first; 0 for
            none. The squared error of a moved object has a useful gradient only where the object overlaps its target,
            which thin strokes hardly do without blur.
        blur_until: Share of the steps in which the blur decreases, by a constant factor a step, in (0, 1]; after it
            there is no blur.

    Raises:
        ValueError: If numbers are outside their ranges; all of them are listed.

    References:
        Blake and Zisserman, *Visual reconstruction*, 1987 (graduated non-convexity: easier problems first).
    """

    _: KW_ONLY
    beta: float = 1.0
    beta_warmup: float = 0.25
    blur: float = 0.0
    blur_until: float = 0.75

    def _rules(self) -> dict[str, tuple[bool, str]]:
        return {
            **super()._rules(),
            "beta": (0 < self.beta < math.inf, "above 0"),
            "beta_warmup": (0 <= self.beta_warmup <= 1, "a share in [0, 1]"),
            "blur": (0 <= self.blur < math.inf, "0 or more"),
            "blur_until": (0 < self.blur_until <= 1, "a share in (0, 1]"),
        }

    def beta_at(self, done: float) -> float:
        """Weight of the KL divergence after a share of the steps."""
        return self.beta * min(1.0, done / self.beta_warmup) if self.beta_warmup else self.beta

    def blur_at(self, done: float) -> float:
        """Width of the blur after a share of the steps; 0 where it would be too narrow to matter."""
        if self.blur <= SHARP or done >= self.blur_until:
            return 0.0
        return self.blur * (SHARP / self.blur) ** (done / self.blur_until)


def fit(
    model: CVAE,
    train_pairs: Any,
    validation_pairs: Any,
    settings: FitSettings | None = None,
    *,
    folder: Path | str | None = None,
    accelerator: Accelerator | None = None,
    progress: bool = False,
    identity: str = "",
    fields: Sequence[str] | None = None,
) -> list[Record]:
    r"""Fits a CVAE to pairs, in place; it ends with the weights that are best on the validation pairs.

    .. math:: \max\ \mathbb E_{q(z \mid x, \tilde x)} \ln p(\tilde x \mid z, x)
        - \beta\,\mathrm{KL}\big(q(z \mid x, \tilde x)\,\|\,p(z \mid x)\big)

    Losses are in nats per pixel. The scale of a Gaussian likelihood is set in closed form: from the batch while
    training, from the validation pairs at the end.

    Args:
        model: The model to fit.
        train_pairs: Map-style data of (clean, changed, ...): uint8 images or floats in [0, 1], as Pillow images, arrays
            or tensors; further parts are ignored. If items are mappings, ``fields`` are read.
        validation_pairs: The same, from other source images.
        settings: Steps, learning rate, weight of the KL divergence.
        folder: Where checkpoint and metrics go; a killed fit continues from there to the same weights.
        accelerator: From Hugging Face accelerate; made from the settings if not given.
        progress: Whether to show a progress bar.
        identity: Text that identifies the pairs: a killed fit continues only on the same ones.
        fields: Names of the clean and the changed image in mappings; ``("clean", "changed")`` if not given.

    Returns:
        The records logged: training losses, validation losses and the validation score that selects the weights.

    Raises:
        TypeError: If pairs are no map-style data set.
        ValueError: If images are not in [0, 1] or do not fit the model, or as for :func:`cvae.train`.
        FloatingPointError: If the loss becomes NaN.
    """
    settings = settings or FitSettings()
    accelerator = accelerator or Accelerator(mixed_precision=settings.mixed_precision)
    pairs = {
        name: Parts(data, fields, ("clean", "changed"), images=2, name=name)
        for name, data in (("train_pairs", train_pairs), ("validation_pairs", validation_pairs))
    }
    for name, data in pairs.items():
        clean, changed = _pair(data.batch(torch.arange(1)))
        model.check(clean, f"clean images of {name}")
        model.check(changed, f"changed images of {name}")

    def loss(wrapped: nn.Module, batch: Batch, draws: Draws) -> Iterator[Scalars]:
        clean, changed = _pair(batch)
        terms = wrapped(clean, changed, draws.normal(model.latent), settings.blur_at(draws.done))
        model.likelihood.calibrate(_mean_over_processes(terms.statistic.detach().mean()), model.pixels)
        reconstruction = -model.likelihood.log_prob(terms.statistic, model.pixels).mean() / model.pixels
        kl = terms.kl.mean() / model.pixels
        total = reconstruction + settings.beta_at(draws.done) * kl
        yield {"loss": total, "reconstruction": reconstruction, "kl": kl, "scale": _scale(model)}

    def validate(bare: nn.Module) -> Record:
        return _validation(bare, pairs["validation_pairs"], settings, accelerator)

    return train(
        model,
        loss,
        pairs["train_pairs"],
        settings,
        validate=validate,
        folder=folder,
        fingerprint=" ".join([type(model).__name__, str(model.shape), f"latent={model.latent}", identity]).strip(),
        accelerator=accelerator,
        title="fit",
        progress=progress,
    )


def _pair(batch: Batch) -> tuple[Tensor, Tensor]:
    clean, changed = batch[0], batch[1]
    return to_dtype(clean, torch.float32, scale=True), to_dtype(changed, torch.float32, scale=True)


def _scale(model: CVAE) -> Tensor:
    return getattr(model.likelihood, "scale", torch.zeros(())).clone()


def _mean_over_processes(value: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def _validation(bare: nn.Module, pairs: Parts, settings: FitSettings, accelerator: Accelerator) -> Record:
    """The negative evidence lower bound over validation pairs, which the processes share."""
    if not isinstance(bare, CVAE):
        raise TypeError(f"model must be a CVAE, got {type(bare).__name__}")
    model: CVAE = bare
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    noise = torch.Generator().manual_seed(derive_seed(settings.seed, "validation"))
    sums = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for rows in torch.arange(len(pairs)).split(settings.batch):
        draw = torch.randn(len(rows), model.latent, generator=noise)[rank::processes].to(device)
        if len(rows[rank::processes]):
            clean, changed = (part.to(device) for part in _pair(pairs.batch(rows[rank::processes])))
            terms = model(clean, changed, draw)
            counted = [terms.statistic.sum(), terms.kl.sum(), terms.kl.new_tensor(float(len(draw)))]
            sums += torch.stack(counted).to(sums.dtype)
    statistic, kl, _ = (sums := accelerator.reduce(sums)) / sums[2]
    model.likelihood.calibrate(statistic.float(), model.pixels)
    bound = model.likelihood.log_prob(statistic[None], model.pixels)[0] - settings.beta * kl
    return {
        "score": float(-bound / model.pixels),
        "validation_error": float(statistic / model.pixels),
        "validation_kl": float(kl / model.pixels),
        "validation_scale": float(_scale(model)),
    }
