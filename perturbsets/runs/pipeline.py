"""Carrying out the stages of a recipe, in order."""

from __future__ import annotations

import time

from accelerate import Accelerator
from rich.console import Console

from perturbsets.recipe import Recipe
from perturbsets.runs import analyses, stages
from perturbsets.runs.data_validation import check_data
from perturbsets.runs.folder import RunFolder
from perturbsets.stages import STAGES

MODULES = {"stages": stages, "analyses": analyses}


def execute(recipe: Recipe, only: str | None = None, *, restart: str | None = None, quiet: bool = False) -> RunFolder:
    """Carries out a recipe in its run folder, from the first stage that is not finished.

    Args:
        recipe: The recipe.
        only: One stage to carry out alone, again if it was finished; a finished fit or training is kept as it is.
        restart: A stage to repeat, with those that depend on it: their results are removed first.
        quiet: Whether to print nothing.

    Raises:
        ValueError: If results in the output folder come from another recipe, there is no such stage, or as a stage
            raises.
        OSError: If the folder cannot be written.
    """
    names = recipe.stages
    for stage in {only, restart} - {None, *names}:
        raise ValueError(
            f"recipe must have sections for the stage {stage}, got none: its stages are {', '.join(names)}"
        )
    check_data(recipe)
    learning = recipe.fit if "fit" in names else recipe.train  # where there are both, they have one precision
    accelerator = Accelerator(mixed_precision=learning.mixed_precision)
    console = Console(quiet=quiet or not accelerator.is_main_process)
    repeat = restart if only is None or STAGES[only].shared else only
    with accelerator.main_process_first():
        remove = restart is not None and accelerator.is_main_process
        run = RunFolder(recipe, repeat if accelerator.is_main_process else None, remove=remove)
    for name in names:
        if only not in (None, name) or (only is None and run.done(name)):
            continue
        console.print(f"[bold]{name}[/bold]")
        begun = time.perf_counter()
        if accelerator.is_main_process or STAGES[name].shared:
            getattr(MODULES[STAGES[name].module], name)(run, accelerator, console)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            seconds = time.perf_counter() - begun
            run.finish(name, seconds, processes=accelerator.num_processes)
        accelerator.wait_for_everyone()
    return run
