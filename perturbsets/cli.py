"""The command line. Heavy imports happen inside the commands, so that help answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from perturbsets.stages import STAGES

app = typer.Typer(
    help="Learn perturbation sets from pairs of images, check them, and train and evaluate classifiers with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[
    Path, typer.Argument(help="A recipe (YAML), the name of a packaged recipe, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Values that override the recipe's: key.key=value.", show_default=False)
]


@app.callback()
def _settings(
    tune_malloc: Annotated[bool, typer.Option(help="Let glibc keep freed memory, which is faster on CPUs.")] = True,
) -> None:
    if tune_malloc:
        from perturbsets.memory import keep_freed_memory

        keep_freed_memory()


def _execute(recipe: Path, overrides: list[str] | None, only: str | None = None) -> None:
    """Carries out a recipe or one stage; errors that the user can correct take one line, without a traceback."""
    try:
        from perturbsets.recipe import read_recipe
        from perturbsets.runs import execute

        folder = execute(read_recipe(recipe, overrides or ()), only).path
    except (ValueError, OSError, FloatingPointError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    if only in (None, "report"):
        typer.echo(f"report: {(folder / 'report.html').resolve()}")


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Carry out a whole recipe, continuing at the first stage that is not finished."""
    _execute(recipe, overrides)


def _stage_command(name: str) -> Callable[..., None]:
    def command(recipe: RecipeArgument, overrides: Overrides = None) -> None:
        _execute(recipe, overrides, name)

    return command


for stage in STAGES.values():
    app.command(stage.name, help=stage.help)(_stage_command(stage.name))


@app.command()
def recipes() -> None:
    """List the packaged recipes, which `perturbsets run` finds by name."""
    from perturbsets.packaged_recipes import description, packaged_recipes

    found = packaged_recipes()
    width = max(map(len, found), default=0)
    for name, file in found.items():
        typer.echo(f"{name:{width}}  {description(file)}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from perturbsets.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def main() -> None:
    """Entry point of the command line."""
    app()
