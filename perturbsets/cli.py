"""The command line. Heavy imports happen inside the commands, so that help answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Learn perturbation sets from pairs of images, check them, and train and judge classifiers with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[Path, typer.Argument(help="A recipe (YAML), or the folder of a run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Values that override the recipe's: key.key=value.", show_default=False),
]


@app.callback()
def _settings(
    tune_malloc: Annotated[bool, typer.Option(help="Let glibc keep freed memory, which is faster on CPUs.")] = True,
) -> None:
    if tune_malloc:
        from perturbsets.memory import keep_freed_memory

        keep_freed_memory()


def _execute(recipe: Path, overrides: list[str] | None, only: str | None = None) -> Path:
    """Carries out a recipe or one stage; what the user can mend is told in a line, without a traceback."""
    try:
        from perturbsets.recipe import read_recipe
        from perturbsets.runs import execute

        return execute(read_recipe(recipe, overrides or ()), only).path
    except (ValueError, OSError, FloatingPointError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Carry out a whole recipe, continuing at the first stage that is not finished."""
    folder = _execute(recipe, overrides)
    typer.echo(f"report: {(folder / 'report.html').resolve()}")


@app.command()
def pairs(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Make pairs of clean and changed images, or collect them from files, and store them in pairs.h5."""
    _execute(recipe, overrides, "pairs")


@app.command()
def fit(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Fit the CVAE to the pairs and save the learned set; a killed fit continues."""
    _execute(recipe, overrides, "fit")


@app.command()
def check(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Measure on test pairs whether the set holds the changes it should, and little else."""
    _execute(recipe, overrides, "check")


@app.command()
def auxiliary(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Train the multi-label classifier that helps to train the others, and measure it."""
    _execute(recipe, overrides, "auxiliary")


@app.command()
def train(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Train every classifier of the recipe."""
    _execute(recipe, overrides, "train")


@app.command()
def evaluate(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Judge every classifier under every adversary, on test images."""
    _execute(recipe, overrides, "evaluate")


@app.command()
def certify(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Certify what held-out pairs and votes under noise prove of the set and of classifiers."""
    _execute(recipe, overrides, "certify")


@app.command()
def representations(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Attack a network's inner representations, and measure how natural what comes of it is."""
    _execute(recipe, overrides, "representations")


@app.command()
def labels(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Attack the auxiliary classifier's labels, and see what rules between labels and classes detect."""
    _execute(recipe, overrides, "labels")


@app.command()
def report(recipe: RecipeArgument, overrides: Overrides = None) -> None:
    """Write report.html from what the run folder holds."""
    folder = _execute(recipe, overrides, "report")
    typer.echo(f"report: {(folder / 'report.html').resolve()}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from perturbsets.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def main() -> None:
    """Entry point of the command line."""
    app()
