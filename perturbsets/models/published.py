"""Classifiers of torchvision, by name, for images in [0, 1]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pickle import UnpicklingError

import torch
from torch import Tensor, nn
from torchvision import models

from cvae import Pretrained
from perturbsets._types import Images, Logits

MORE_THAN_LOGITS = ("googlenet", "inception_v3")  # networks whose training passes return more than logits
CATEGORIES = 1000


class Published(Pretrained):
    r"""A classifier of torchvision, random or with published weights, with the normalisation it was trained with.

    .. math:: f\big((x - m) / s\big), \text{ channel by channel}

    Its layers have torchvision's names after ``network.``, such as ``network.features.5`` of ``alexnet`` or
    ``network.layer3.0.conv1`` of ``resnet18``. Images are not resized: give them the size that the weights were trained
    on, mostly 224 rows and columns.

    Args:
        name: Name of the architecture, as in ``torchvision.models.list_models()``.
        weights: Name of published weights, such as ``"IMAGENET1K_V1"``, which torchvision downloads and caches; random
            ones if not given. :meth:`save_pretrained` saves all of them: loading downloads nothing.
        classes: Number of classes K, at least 2; the last layer is random unless it is the weights' 1000.
        channels: 3, or 1 for grey images, which the network gets as three equal channels.

    Raises:
        ValueError: If a name is unknown (with the nearest names) or a number outside its range.
        OSError: If weights cannot be downloaded.

    Example:
        >>> model = Published("squeezenet1_1", classes=4).eval()
        >>> model(torch.rand(2, 3, 40, 40)).shape
        torch.Size([2, 4])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, weights: str | None = None, classes: int = CATEGORIES, channels: int = 3) -> None:
        super().__init__()
        self.check_arguments(name, weights=weights, classes=classes, channels=channels)
        network = models.get_model(name, num_classes=classes)
        if weights is not None:
            _load(network, _fetched(name, weights), f"{weights} of {name}")
        default = next(iter(_offered(name).values()))
        self.network, self.channels, self.smallest = network, channels, default.meta["min_size"]
        statistics = default.transforms()
        self.register_buffer("mean", torch.tensor(statistics.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics.std).view(-1, 1, 1), persistent=False)
        config = dict(self._hub_mixin_config or {})  # type: ignore[arg-type, call-overload]
        self._hub_mixin_config = config | {"weights": None}  # a saved network has its own

    @staticmethod
    def check_arguments(name: str, *, weights: str | None = None, classes: int = CATEGORIES, channels: int = 3) -> None:
        """Checks the arguments of the constructor without building or downloading anything."""
        known = set(models.list_models(module=models)).difference(MORE_THAN_LOGITS)
        if name in MORE_THAN_LOGITS:
            raise ValueError(f"name must be that of a network that returns logits alone, got {name!r}")
        if name not in known:
            near = get_close_matches(name, sorted(known), 5, cutoff=0.0)
            raise ValueError(f"name must be one of torchvision's classifiers, got {name!r}: nearest are {near}")
        if weights is not None and weights not in _offered(name):
            raise ValueError(f"weights must be one of {list(_offered(name))} for {name}, or none, got {weights!r}")
        if classes < 2 or channels not in (1, 3):
            raise ValueError(f"classes must be at least 2, channels 1 or 3, got classes={classes}, channels={channels}")

    def forward(self, images: Images) -> Logits:
        """Images in [0, 1] to logits; raises a ValueError for other channels or images too small for the network."""
        channels, height, width = images.shape[1:]
        least_height, least_width = self.smallest
        if channels != self.channels or height < least_height or width < least_width:
            raise ValueError(
                f"images must have {self.channels} channels, {least_height} rows and {least_width} columns or more, "
                f"got {list(images.shape[1:])}: resize them, or take another network"
            )
        logits: Logits = self.network((images - self.mean.to(images)) / self.std.to(images))
        return logits


def _offered(name: str) -> dict[str, models.WeightsEnum]:
    """Weights of classifiers that fit the network as it is built without weights, by name."""
    every = [each for each in models.get_model_weights(name) if each.meta["categories"] is not None]
    return {each.name: each for each in every if each.meta["min_size"] == min(one.meta["min_size"] for one in every)}


def _fetched(name: str, weights: str) -> dict[str, Tensor]:
    """Published weights, cached or downloaded by torchvision; only tensors are read."""
    chosen = _offered(name)[weights]
    try:
        return chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise OSError(
            f"weights {weights} of {name} could not be downloaded ({reason}): put the file {chosen.url} into "
            f"{torch.hub.get_dir()}/checkpoints, or leave weights out for random ones"
        ) from error


def _load(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Loads weights, all but those of a last layer for another number of classes."""
    own = network.state_dict()
    # Those of densenets were saved under names that modules can no longer have.
    given = {key if key in own else re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", key): state[key] for key in state}
    for key in own.keys() & given.keys():
        rows, *columns = given[key].shape or (0,)
        if rows == CATEGORIES != len(own[key]) and columns == list(own[key].shape[1:]):
            given[key] = own[key]
    try:
        network.load_state_dict(given)
    except RuntimeError as error:
        raise ValueError(f"weights must be those of the network, got others from {origin}: {error}") from error
