"""The command `perturbsets attack`: robust accuracy of the user's own model on their own images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from perturbsets.terminal import errors_in_one_line, printing


def attack(
    model: Annotated[
        str, typer.Option(help="mypackage.mymodule:make_model, a model of images in [0, 1], or what makes it.")
    ],
    data: Annotated[str, typer.Option(help="A folder with a folder of images for each class, or hf:NAME.")],
    weights: Annotated[Path | None, typer.Option(help="Weights of the model (safetensors).")] = None,
    norm: Annotated[str, typer.Option(help="linf, l2 or l1.")] = "linf",
    radius: Annotated[
        str | None, typer.Option(help="Of images in [0, 1]: 8/255, 0.5. [default: 8/255, 0.5 in l2, 12 in l1]")
    ] = None,
    learned: Annotated[str | None, typer.Option("--set", help="A learned set in place of the norm.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data, where they have any.")] = "test",
    fields: Annotated[str | None, typer.Option(help="Columns of the data: image,label.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Most images, drawn at random.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each gradient attack.")] = 100,
    queries: Annotated[int, typer.Option(min=1, help="Model calls of Square for each image.")] = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Images attacked at a time.")] = 256,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. [default: cuda where there is one]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    file: Annotated[Path | None, typer.Option("--json", help="A file for the figures.")] = None,
) -> None:
    """Attack your own model on your own images, and print its clean and robust accuracy."""
    with errors_in_one_line(TypeError, ImportError):
        import torch

        from cvae.files import atomic_file
        from perturbsets.own_model import build_model, chosen_set, importable, measure, read_data

        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        chosen, found = chosen_set(norm, radius, learned), read_data(data, split)
        with importable(Path.cwd()):
            content = measure(
                build_model(model, weights).to(where),
                found,
                chosen,
                images=images,
                seed=seed,
                fields=None if fields is None else fields.split(","),
                steps=steps,
                queries=queries,
                batch=batch,
                progress=not printing.quiet,
            )
        lines = content.pop("lines")
        if file is not None:
            with atomic_file(file) as temporary:
                temporary.write_text(json.dumps({"model": model, "data": data, **content}, indent=2) + "\n")
    if not printing.quiet:
        for name, words in lines.items():
            typer.echo(f"{name:16} {words}")
