"""Corruptions by their published name and severity: a given one, or a random one for each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torchvision import tv_tensors

from augment._types import Images, Parameters
from augment.corruptions.base import CommonCorruption, planes
from augment.corruptions.severities import CLASSES, Constants, at_severity, check_name, check_severity
from augment.functional.counter import SEED_NAMES, draw_seeds, from_columns, to_columns, uniform
from augment.transform import ChangeTransform


class Corruption(ChangeTransform):
    """A common corruption at a published severity.

    Args:
        name: One of the 19, for example ``"fog"``.
        severity: 1 to 5.
        constants: ``"cifar-c"`` for images of about 32 pixels, ``"imagenet-c"`` for about 224.
        frost: Folder of photographs of frost; without it, a texture of ice crystals is made.
        generator: For the draws, as for :class:`augment.ImageTransform`.
        return_parameters: Whether to return ``(sample, parameters)``.

    Raises:
        ValueError: If the name is unknown (the closest one is suggested), or the severity not 1 to 5.

    References:
        Hendrycks and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*,
        ICLR 2019.

    Example:
        >>> Corruption("gaussian_noise", 3)(torch.zeros(4, 3, 32, 32)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        name: str,
        severity: int = 3,
        *,
        constants: Constants = "cifar-c",
        frost: str | None = None,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
    ) -> None:
        corruption = at_severity(name, severity, constants, **_photographs(name, frost))
        super().__init__(moves_pixels=corruption.moves_pixels, generator=generator, return_parameters=return_parameters)
        self.name, self.severity, self.constants, self.frost = name, check_severity(severity), constants, frost
        self.corruption = corruption

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "severity": self.severity, "constants": self.constants, "frost": self.frost}

    @property
    def conditions(self) -> tuple[str, ...]:
        """The only condition of pairs."""
        return (self.name,)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.corruption.parameter_names

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        return self.corruption.draw(count, generator=generator)

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return self.corruption.apply(images, parameters)

    def move(self, target: Any, rows: Parameters) -> Any:
        return self.corruption.move(target, rows)


class RandomCorruption(ChangeTransform):
    """For each image one of several common corruptions at one of several severities, drawn uniformly.

    A row of parameters holds the number of the corruption in `names`, the severity, and the two halves of the seed from
    which all else follows.

    Args:
        names: Published names; all 19 if not given.
        severities: Some of 1 to 5.
        constants: As for :class:`Corruption`, like the arguments below.
        frost: Folder of photographs of frost.
        generator: For the draws.
        return_parameters: Whether to return ``(sample, parameters)``.

    Raises:
        ValueError: If there is no name or severity, a name is unknown (the closest one is suggested), or a severity not
            1 to 5.
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        *,
        constants: Constants = "cifar-c",
        frost: str | None = None,
        generator: torch.Generator | None = None,
        return_parameters: bool = False,
    ) -> None:
        if isinstance(names, str) or isinstance(severities, int):
            raise ValueError(f"names and severities must be lists, got {names!r} and {severities!r}: take Corruption")
        chosen = tuple(CLASSES if names is None else names)
        if not chosen or not severities:
            raise ValueError(f"names and severities must hold at least one, got {names} and {severities}")
        for name in chosen:
            check_name(name)
        strengths = tuple(check_severity(severity) for severity in severities)
        made = {
            (number, severity): at_severity(name, severity, constants, **_photographs(name, frost))
            for number, name in enumerate(chosen)
            for severity in strengths
        }
        moves_pixels = any(corruption.moves_pixels for corruption in made.values())
        super().__init__(moves_pixels=moves_pixels, generator=generator, return_parameters=return_parameters)
        self.names, self.severities, self.constants, self.frost = chosen, strengths, constants, frost
        self._corruptions = made

    @property
    def settings(self) -> dict[str, Any]:
        return {"names": self.names, "severities": self.severities, "constants": self.constants, "frost": self.frost}

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the corruptions: the conditions of pairs."""
        return self.names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return ("corruption", "severity", *SEED_NAMES)

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Parameters:
        seeds = draw_seeds(count, generator=generator)
        which, how = uniform(seeds, 2, "corruption and severity").unbind(1)
        severities = seeds.new_tensor(self.severities)[(how * len(self.severities)).long()]
        kind = torch.stack([(which * len(self.names)).long(), severities], 1)
        return torch.cat([kind.float(), to_columns(seeds)], 1)

    def apply(self, images: Images, parameters: Parameters) -> Images:
        self.check_parameters(parameters)
        changed = torch.empty_like(images)
        for rows, corruption, own in self._parts(parameters):
            changed[rows] = corruption.apply(images[rows], own)
        return changed

    def move(self, target: Any, rows: Parameters) -> Any:
        if not isinstance(target, tv_tensors.Mask):
            return next(one for one in self._corruptions.values() if one.moves_pixels).move(target, rows)
        moved = planes(target.as_subclass(Tensor), len(rows)).clone()
        for some, corruption, own in self._parts(rows.to(moved.device)):
            if corruption.moves_pixels:
                moved[some] = corruption.move(tv_tensors.Mask(moved[some]), own)
        return tv_tensors.wrap(moved.view(target.shape), like=target)

    def _parts(self, parameters: Parameters) -> Iterator[tuple[Tensor, CommonCorruption, Parameters]]:
        """Of each corruption that was drawn the rows, the transform and its parameters."""
        number, severity = parameters[:, :2].long().unbind(1)
        seeds = from_columns(parameters[:, 2:])
        kind = number * 8 + severity
        order = kind.argsort(stable=True)
        kinds, counts = kind[order].unique_consecutive(return_counts=True)
        for code, rows in zip(kinds.tolist(), order.split(counts.tolist()), strict=True):
            corruption = self._corruptions.get((code // 8, code % 8))
            if corruption is None:
                raise ValueError(
                    f"parameters must name a corruption below {len(self.names)} and a severity of {self.severities}, "
                    f"got {code // 8} and {code % 8}"
                )
            yield rows, corruption, corruption.from_seeds(seeds[rows])

    def condition(self, parameters: Parameters) -> Int64[Tensor, " B"]:
        """Number of each row's corruption."""
        return parameters[:, 0].long().cpu()


def _photographs(name: str, folder: str | None) -> dict[str, Any]:
    """The further argument of frost."""
    return {"folder": folder} if name == "frost" and folder is not None else {}
