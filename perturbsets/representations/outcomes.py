"""Which label a feature adversary gets, the guide's or still the source's, and whether that transfers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from perturbsets._types import Flags, Labels, PerImage
from perturbsets.intervals import independent, mean_interval, share_interval, share_of
from perturbsets.printing import Result
from perturbsets.rows import named_rows


@dataclass(frozen=True)
class LabelOutcomes(Result):
    """Whether each adversary is classified as its guide or still as its source, and each pair's independent unit."""

    takes_guide: Flags
    keeps_source: Flags
    groups: Tensor | None = None

    def summary(self) -> dict[str, Any]:
        """The three shares with intervals at 95 % over independent pairs, which share no source and no guide."""
        pairs = len(self.takes_guide)
        flags = {"takes_guide": self.takes_guide, "keeps_source": self.keeps_source}
        flags["other"] = ~(self.takes_guide | self.keeps_source)
        shares = {name: share_interval(flag, self.groups)._asdict() for name, flag in flags.items()}
        return {**shares, "pairs": pairs, "independent": independent(pairs, self.groups)}


@dataclass(frozen=True)
class Transfer(Result):
    """Outcomes of the same adversaries on the network they were made on, and on a second, with its distance ratios."""

    first: LabelOutcomes
    second: LabelOutcomes
    ratios: Mapping[str, PerImage] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Outcomes of both, the share that transfers, and per layer the mean ratio and the share nearer the guide.

        ``carried`` is the share that takes the guide's label on the second network, of those that take it on the first;
        ``None`` where none does.
        """
        groups = self.first.groups
        carried = share_of(self.second.takes_guide, self.first.takes_guide, groups)
        return {
            "first": self.first.summary(),
            "second": self.second.summary(),
            "carried": carried and carried._asdict(),
            "layers": {
                name: {
                    "ratio": mean_interval(ratio, groups)._asdict(),
                    "nearer": share_interval(ratio < 1, groups)._asdict(),
                }
                for name, ratio in self.ratios.items()
            },
        }


def label_outcomes(predictions: Labels, source: Labels, guide: Labels, groups: Tensor | None = None) -> LabelOutcomes:
    """Compares the labels of adversaries with those of their guides and sources.

    Args:
        predictions: Classes predicted for adversaries.
        source: Classes of their sources: true ones, or predicted by the same network.
        guide: Classes of their guides, likewise.
        groups: Number of each pair's independent unit; by default every pair is its own.

    Returns:
        Two flags per pair; neither is set where the label is a third one.

    Raises:
        ValueError: If there are no pairs, their numbers differ, or source and guide have the same class.

    Example:
        >>> import torch
        >>> outcomes = label_outcomes(torch.tensor([1, 0, 5]), torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1]))
        >>> outcomes.takes_guide.tolist(), outcomes.keeps_source.tolist()
        ([True, False, False], [False, True, False])
    """
    if not len(predictions) == len(source) == len(guide) > 0:
        raise ValueError(
            f"predictions, source and guide must be equally many and at least 1, got {len(predictions)}, "
            f"{len(source)} and {len(guide)}"
        )
    if bool((same := source == guide).any()):
        raise ValueError(
            f"source and guide must be of two classes, got the same one in {named_rows(same)}: leave these pairs out, "
            "or give true labels where a network confuses them"
        )
    return LabelOutcomes(predictions == guide, predictions == source, groups)


def transfer(first: LabelOutcomes, second: LabelOutcomes, ratios: Mapping[str, PerImage] | None = None) -> Transfer:
    """Compares the outcomes of the same adversaries on two networks.

    Args:
        first: Outcomes on the network they were made on.
        second: Outcomes of the same pairs, in the same order, on the second network.
        ratios: Distance ratios of the second network's features, by layer: 0 where the adversary has the guide's
            representation, above 1 where it is farther from it than its source is.

    Raises:
        ValueError: If pairs differ in number, or a ratio is negative or not finite.

    Example:
        >>> import torch
        >>> source, guide = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
        >>> first = label_outcomes(torch.tensor([1, 1, 0]), source, guide)
        >>> second = label_outcomes(torch.tensor([1, 0, 0]), source, guide)
        >>> transfer(first, second).summary()["carried"]["mean"]
        0.5
    """
    counts = {"first": len(first.takes_guide), "second": len(second.takes_guide)}
    counts |= {layer: len(ratio) for layer, ratio in (ratios or {}).items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"first, second and ratios must be of the same pairs, got {counts}")
    for layer, ratio in (ratios or {}).items():
        if bool((bad := ~((ratio >= 0) & ratio.isfinite())).any()):
            raise ValueError(f"ratios of {layer!r} must be 0 or more and finite, got others in {named_rows(bad)}")
    return Transfer(first, second, dict(ratios or {}))
