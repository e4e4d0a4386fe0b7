"""How a model was fitted: what its training pairs and its records say about the cause of an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cvae import CVAE
from perturbsets.criteria.extremes import squared_difference
from perturbsets.criteria.pairs import Pairs, batches, sources_of

MOST = 512  # training pairs that are measured
USED = 0.01
"""Variance of a latent's encodings over pairs, in units of the prior's, above which the latent counts as used."""


@torch.no_grad()
def fitted_figures(
    model: CVAE, pairs: Pairs, records: Sequence[Mapping[str, Any]] = (), *, batch: int | None = None
) -> dict[str, Any]:
    r"""The error that a model leaves on the pairs it was fitted to, and what it uses of its latents and steps.

    Args:
        model: A fitted model, in evaluation mode.
        pairs: Its training pairs; at most 512 of them, evenly spaced, are measured.
        records: What :func:`cvae.fit` returned, for its passes and the progress of the last quarter.
        batch: Pairs per step, for its passes.

    Returns:
        Plain values, ``None`` where records do not say: ``pairs`` and ``sources`` it was fitted to; ``share``, the
        squared error at the encodings as a share of the squared difference between clean and changed images;
        ``latent``, the number of latents, and ``used``, how many have encodings of a variance above a hundredth of the
        prior's; ``passes``, how often each pair was seen; ``falling``, the share by which the best validation error
        fell in the last quarter of the records; ``rising``, the share by which the last one is above the best.

    Raises:
        ValueError: If there are no pairs.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, sec. 5.2 (active units).
    """
    rows = torch.linspace(0, len(pairs) - 1, min(len(pairs), MOST)).round().long() if len(pairs) else torch.arange(0)
    error = identity = 0.0
    encodings = []
    for part in batches(_Some(pairs, rows), device=next(model.parameters()).device):
        clean, changed = part.clean, part.changed
        offsets = model.encode(clean, changed)
        error += float(squared_difference(model.decode(clean, offsets), changed).sum())
        identity += float(squared_difference(clean, changed).sum())
        encodings.append(offsets)
    variance = torch.cat(encodings).var(0, correction=0)
    errors = [record["validation_error"] for record in records if "validation_error" in record]
    late = 3 * len(errors) // 4
    return {
        "pairs": len(pairs),
        "sources": len(sources_of(pairs).unique()),
        "share": error / identity if identity else None,
        "latent": len(variance),
        "used": int((variance > USED).sum()),
        "passes": batch * records[-1]["step"] / len(pairs) if batch and records else None,
        "rising": errors[-1] / min(errors) - 1 if errors else None,
        "falling": 1 - min(errors) / min(errors[:late]) if late >= 3 else None,
    }


class _Some:
    """Some rows of pairs."""

    def __init__(self, pairs: Pairs, rows: torch.Tensor) -> None:
        self.pairs, self.rows = pairs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: Any) -> Any:
        return self.pairs.batch(self.rows[torch.as_tensor(indices)])
