"""Carrying out the stages of a recipe, in order."""

from __future__ import annotations

import time

from accelerate import Accelerator
from rich.console import Console

from perturbsets.recipe import Recipe
from perturbsets.recipe.data_validation import classifier_misfits, label_misfits
from perturbsets.runs import analyses, build, stages
from perturbsets.runs.folder import RunFolder
from perturbsets.stages import STAGES

MODULES = {"stages": stages, "analyses": analyses}


def execute(recipe: Recipe, only: str | None = None) -> RunFolder:
    """Carries out a recipe in its run folder, from the first stage that is not finished.

    Args:
        recipe: The recipe.
        only: One stage to carry out alone, again if it was finished; a finished fit or training is kept as it is.

    Raises:
        ValueError: If the output folder belongs to another recipe, the recipe has no such stage, or as a stage raises.
        OSError: If the folder cannot be written.
    """
    names = recipe.stages
    if only is not None and only not in names:
        raise ValueError(f"recipe must have sections for the stage {only}, got none: its stages are {', '.join(names)}")
    _check_data(recipe)
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
        if accelerator.is_main_process or STAGES[name].shared:
            getattr(MODULES[STAGES[name].module], name)(run, accelerator, console)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            seconds = time.perf_counter() - begun
            run.finish(name, seconds, names[number + 1 :], processes=accelerator.num_processes)
        accelerator.wait_for_everyone()
    return run


def _check_data(recipe: Recipe) -> None:
    """Checks a recipe against its data and the run whose classifiers it takes, before any work."""
    faults = list(classifier_misfits(recipe, build.methods(recipe)))
    if recipe.auxiliary is not None or recipe.labels is not None:
        build.rules(recipe)  # which must fit labels and classes
        faults += label_misfits(recipe, build.labelled(recipe, "test"))
    if faults:
        raise ValueError("recipe must fit its data, got:\n" + "\n".join(f"  {fault}" for fault in faults))
