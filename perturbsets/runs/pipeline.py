"""The order of the stages, and carrying them out."""

from __future__ import annotations

import time
from collections.abc import Callable

from accelerate import Accelerator
from rich.console import Console

from perturbsets.recipe import Recipe
from perturbsets.runs import stages
from perturbsets.runs.certifying import certify
from perturbsets.runs.folder import RunFolder
from perturbsets.runs.labelling import labels
from perturbsets.runs.representing import representations
from perturbsets.runs.train_auxiliary import auxiliary
from perturbsets.runs.training import train
from perturbsets.runs.validate_names import check_names

Stage = Callable[[Recipe, RunFolder, Accelerator, Console], None]

STAGES: dict[str, Stage] = {
    "pairs": stages.pairs,
    "fit": stages.fit,
    "check": stages.check,
    "auxiliary": auxiliary,
    "train": train,
    "evaluate": stages.evaluate,
    "certify": certify,
    "representations": representations,
    "labels": labels,
    "report": stages.report,
}
"""All stages in order, by the name of their command."""

SHARED = ("fit", "auxiliary", "train")  # stages in which every process takes part; the others run on the first one


def execute(recipe: Recipe, only: str | None = None) -> RunFolder:
    """Carries out a recipe, from the first stage that is not finished.

    Args:
        recipe: The recipe.
        only: One stage to carry out alone, again if it was finished; a finished fit or training is kept as it is.

    Returns:
        The run folder.

    Raises:
        ValueError: If the output folder belongs to another recipe, the recipe has no such stage, or as a stage raises.
        OSError: If the folder cannot be written.
    """
    names = recipe.stages
    if only is not None and only not in names:
        raise ValueError(f"recipe must have sections for the stage {only}, got none: its stages are {', '.join(names)}")
    check_names(recipe)
    learning = recipe.fit if "fit" in names else recipe.train  # where there are both, they have one precision
    accelerator = Accelerator(mixed_precision=learning.mixed_precision)
    console = Console(quiet=not accelerator.is_main_process)
    with accelerator.main_process_first():
        run = RunFolder(recipe)
    for number, name in enumerate(names):
        if only not in (None, name) or (only is None and run.done(name)):
            continue
        console.print(f"[bold]{name}[/bold]")
        begun = time.perf_counter()
        if accelerator.is_main_process or name in SHARED:
            STAGES[name](recipe, run, accelerator, console)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            run.finish(
                name,
                time.perf_counter() - begun,
                tuple(names[number + 1 :]),
                seed=recipe.seed,
                processes=accelerator.num_processes,
            )
        accelerator.wait_for_everyone()
    return run
