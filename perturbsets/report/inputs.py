"""Reading what the stages of a run left in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from cvae.metrics import Record, read_records


def read_json(file: Path) -> dict[str, Any] | None:
    """The content of a JSON file, or ``None`` if its stage has not written it yet.

    Raises:
        ValueError: If the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): carry out the stage that wrote it again") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{file} must hold a JSON object, got a {type(content).__name__}: carry out the stage that wrote it again"
        )
    return content


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return dict(safetensors.torch.load_file(file))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}): carry out the stage that wrote it again") from error


def read_classifiers(folder: Path) -> dict[str, list[list[Record]]]:
    """Records of every classifier: name to one list of records per seed, in order of name and seed."""
    trained: dict[str, list[list[Record]]] = {}
    for file in sorted(folder.glob("*/*/metrics.jsonl")):
        records = read_records(file)
        if records:
            trained.setdefault(file.parent.parent.name, []).append(records)
    return trained
