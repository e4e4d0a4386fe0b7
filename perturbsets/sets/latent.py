"""Learned sets: the images that a CVAE generates from a ball of latent offsets."""

from __future__ import annotations

import copy
import json
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cvae import CVAE, DiagonalGaussian
from cvae._types import Features
from cvae.files import atomic_folder, read_tensors
from perturbsets._types import Images, Offsets, OneOrEach, Rows
from perturbsets.rows import check_choice, one_number, set_per_image
from perturbsets.sets.balls import L2Ball
from perturbsets.sets.base import Ball, PerturbationSet, Region, check_bounds
from perturbsets.sets.pairs_used import PairsUsed, read, written

Draw = Literal["bank", "prior"]


class LatentRegion(Region):
    """A :class:`LatentBall` bound to images; the prior of x is computed once, when first needed."""

    def __init__(self, images: Images, perturbations: LatentBall, ball: Ball) -> None:
        self.images, self.perturbations, self.ball = images, perturbations, ball
        self._inputs = images.to(perturbations.dtype)

    @property
    def size(self) -> int:
        return self.perturbations.model.latent

    @cached_property
    def _features(self) -> Features:
        return self.perturbations.model.context(self._inputs)

    @cached_property
    def prior(self) -> DiagonalGaussian:
        """The prior p(z|x)."""
        return self.perturbations.model.prior(self._features)

    def decode(self, offsets: Offsets) -> Images:
        latents = self.prior.at(offsets.to(self._inputs.dtype))
        return self.perturbations.model.generator(self._inputs, self._features, latents).to(self.images.dtype)

    def encode(self, changed: Images) -> Offsets:
        r"""Offsets of changed images by the recognition network, :math:`(\mu_q - \mu_p)/\sigma_p`, not projected."""
        with torch.no_grad():
            posterior = self.perturbations.model.recognition(self._inputs, changed.to(self._inputs.dtype))
            return self.prior.offsets(posterior.mean).to(self.dtype)

    def sample(self, *, generator: torch.Generator | None = None) -> Offsets:
        """Encodings of other pairs carried over (``draw="bank"``), or normal draws conditioned on the ball."""
        bank = self.perturbations.bank
        if self.perturbations.draw == "prior" or bank is None:
            return self.ball.normal(self.centre(), generator)
        device = "cpu" if generator is None else generator.device
        rows = torch.randint(len(bank), (len(self.images),), generator=generator, device=device)
        return self.project(bank[rows.to(bank.device)].to(self.centre()))

    def select(self, rows: Rows) -> LatentRegion:
        kept = LatentRegion(self.images[rows], self.perturbations, self.ball.select(rows))
        kept._features = self.perturbations.model.select(self._features, rows)
        kept.prior = DiagonalGaussian(self.prior.mean[rows], self.prior.log_scale[rows])
        return kept


@dataclass(frozen=True)
class LatentBall(PerturbationSet):
    r"""All images a conditional VAE can reach from an L2 ball of latent offsets.

    .. math:: S_\epsilon(x) = \{\, g(x, \mu(x) + \sigma(x) \odot u) : \|u\|_2 \le \epsilon \,\}

    Offset 0 is :math:`g(x, \mu(x))`, the generator's version of x and the one image of a set of radius 0. x itself need
    not lie in a set of any radius: :class:`perturbsets.NecessarySubset` measures how far offset 0 is from x.

    Args:
        model: Gives the prior :math:`\mu(x), \sigma(x)` and the generator :math:`g`. The set keeps a frozen copy in
            evaluation mode unless it is frozen already, so that training the original does not change the set.
        radius: :math:`0 \le \epsilon \le \infty`, in prior standard deviations (not pixels).
        bank: Encodings of pairs ``[N, Z]`` in the same unit, to be carried over to other images.
        draw: Where samples come from: ``"bank"``, or ``"prior"``, the standard normal conditioned on the ball.
            By default the bank if there is one: encodings rarely fill the prior.
        learned_from: The pairs used in learning, which criteria and certificates refuse; else hold pairs out yourself.

    Raises:
        ValueError: If a radius is negative or NaN, or the bank is missing, empty, of another size or not finite.

    References:
        Wong and Kolter, *Learning perturbation sets for robust machine learning*, 2020, sec. 3.

    Example:
        >>> from cvae import SpatialCVAE
        >>> region = LatentBall(SpatialCVAE(latent=8), radius=2.0).at(torch.rand(4, 1, 28, 28))
        >>> region.decode(region.sample()).shape
        torch.Size([4, 1, 28, 28])
    """

    model: CVAE
    radius: OneOrEach
    _: KW_ONLY
    bank: Tensor | None = None
    draw: Draw | None = None
    learned_from: tuple[PairsUsed, ...] = ()

    def __post_init__(self) -> None:
        measured = "0 or more, in prior standard deviations (`radius_from_pairs(model, pairs)` measures one)"
        set_per_image(self, "radius", lambda r: r >= 0, measured)
        draw = self.draw or ("prior" if self.bank is None else "bank")
        check_choice("draw", draw, Draw)
        if draw == "bank" and self.bank is None:
            raise ValueError('draw="bank" needs a bank of encodings; `encodings(model, pairs)` makes one')
        if self.bank is not None:
            latent, shape = self.model.latent, list(self.bank.shape)
            if len(shape) != 2 or shape[1] != latent or not shape[0]:
                raise ValueError(f"bank must hold encodings [N, {latent}] with N of 1 or more, got {shape}")
            if not bool(self.bank.isfinite().all()):
                raise ValueError("bank must hold finite encodings, got NaN or infinity: fit the model again")
        object.__setattr__(self, "draw", draw)
        object.__setattr__(self, "model", _frozen(self.model))

    def __repr__(self) -> str:
        one = isinstance(self.radius, float)
        radius = f"radius {self.radius:.4g}" if one else "a radius per image"
        bank = "" if self.bank is None else f", bank of {len(self.bank)}"
        return (
            f"LatentBall({type(self.model).__name__}, {radius} in {self.model.latent} latents, "
            f"images {'×'.join(map(str, self.model.shape))}{bank}, draw {self.draw!r})"
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type in which the networks compute; images come back in their own."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the networks are; they follow the images that the set is bound to."""
        return next(self.model.parameters()).device

    def at(self, images: Tensor) -> LatentRegion:
        """Binds the ball to images; the networks follow to their device."""
        images = check_bounds(images, (0.0, 1.0))
        self.model.check(images)
        if self.device != images.device:
            self.model.to(images.device)
        return LatentRegion(images, self, L2Ball(self.radius))

    def save(self, path: Path | str) -> Path:
        """Writes the set as one folder of safetensors and JSON, whole or not at all, and returns its path.

        Args:
            path: The folder; an existing one is replaced.

        Raises:
            ValueError: If the radius is one per image.
            OSError: If the folder cannot be written.
        """
        radius = one_number(self.radius, "radius")
        with atomic_folder(path) as folder:
            self.model.save_pretrained(folder)
            about: dict[str, Any] = {"kind": "LatentBall", "radius": radius, "draw": self.draw}
            about["learned_from"] = written(self.learned_from, folder)
            (folder / "set.json").write_text(json.dumps(about, indent=2) + "\n")
            if self.bank is not None:
                safetensors.torch.save_file({"bank": self.bank.cpu().contiguous()}, folder / "bank.safetensors")
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> LatentBall:
        """Reads a folder written by :meth:`save`.

        Raises:
            FileNotFoundError: If the folder or a file in it is missing.
            ValueError: If a file is corrupted or foreign.
        """
        folder = Path(path)
        file = folder / "set.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"{folder} holds no set.json, so it is no folder written by `LatentBall.save`; a finished run "
                "keeps its set in RUN/set"
            )
        try:
            about = json.loads(file.read_text())
            radius, draw = float(about["radius"]), about["draw"]
            said = about.get("learned_from", [])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is not what `LatentBall.save` writes ({error!r}); save the set again") from error
        bank = None
        if (folder / "bank.safetensors").exists():
            try:
                bank = read_tensors(folder / "bank.safetensors")["bank"]
            except (safetensors.SafetensorError, KeyError) as error:
                raise ValueError(f"{folder / 'bank.safetensors'} is corrupted ({error}); save the set again") from error
        return cls(CVAE.from_pretrained(folder), radius, bank=bank, draw=draw, learned_from=read(said, folder))


def _frozen(model: CVAE) -> CVAE:
    """The model itself if it is frozen and in evaluation mode, otherwise a copy that is."""
    training = any(module.training for module in model.modules())
    if training or any(parameter.requires_grad for parameter in model.parameters()):
        return copy.deepcopy(model).eval().requires_grad_(False)
    return model
