"""Results kept batch by batch, so that a killed evaluation loses one batch at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from cvae.files import atomic_file

Tensors = Mapping[str, Tensor]


class Parts:
    """A folder of finished parts, or none.

    Args:
        folder: Where the parts are; ``None`` keeps nothing.
        name: What they are parts of; a folder of another name is refused.

    Raises:
        ValueError: If the folder holds the parts of something else.
    """

    def __init__(self, folder: Path | str | None, name: str) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        mark = self.folder / "evaluation.txt"
        if not mark.is_file():
            with atomic_file(mark) as file:
                file.write_text(name)
        elif mark.read_text() != name:
            raise ValueError(
                f"folder {self.folder} holds an evaluation of another model, data or settings: choose another folder"
            )

    def get(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """A part: read if it was finished before, otherwise made and kept.

        Args:
            name: Its name in the folder.
            make: Makes it.

        Returns:
            Its tensors.

        Raises:
            ValueError: If its file was damaged.
            OSError: If it cannot be written.
        """
        if self.folder is None:
            return make()
        file = self.folder / f"{name}.safetensors"
        if file.is_file():
            try:
                return dict(safetensors.torch.load_file(file))
            except safetensors.SafetensorError as error:
                raise ValueError(f"{file} was damaged ({error}): remove it, and its part is made again") from error
        made = make()
        with atomic_file(file) as temporary:
            safetensors.torch.save_file({key: value.cpu().contiguous() for key, value in made.items()}, temporary)
        return made
