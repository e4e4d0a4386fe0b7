"""The command line. Heavy imports happen inside the commands, so that help answers at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from perturbsets.attack_command import attack
from perturbsets.stages import STAGES

app = typer.Typer(
    help="Learn perturbation sets from pairs of images, check them, and train and evaluate classifiers with them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[
    Path, typer.Argument(help="A recipe (YAML), the name of a packaged recipe, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Values that override the recipe's: key.key=value.", show_default=False)
]


Restart = Annotated[
    str | None,
    typer.Option(help="A stage to repeat, with those that depend on it: their results are removed.", metavar="STAGE"),
]


@dataclass
class _Printing:
    quiet: bool = False
    verbose: bool = False


printing = _Printing()


def _print_version(asked: bool) -> bool:
    if asked:
        from perturbsets import __version__

        typer.echo(f"perturbsets {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _settings(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the traceback of every error.")] = False,
    tune_malloc: Annotated[bool, typer.Option(help="Let glibc keep freed memory, which is faster on CPUs.")] = True,
) -> None:
    printing.quiet, printing.verbose = quiet, verbose
    if tune_malloc:
        from perturbsets.memory import keep_freed_memory

        keep_freed_memory()


def _execute(recipe: Path, overrides: list[str] | None, only: str | None = None, restart: str | None = None) -> None:
    """Carries out a recipe or one stage; errors that the user can correct take one line, without a traceback."""
    try:
        from perturbsets.recipe import read_recipe
        from perturbsets.runs import execute

        folder = execute(read_recipe(recipe, overrides or ()), only, restart=restart, quiet=printing.quiet).path
    except (ValueError, OSError, FloatingPointError) as error:
        if printing.verbose:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.secho("interrupted: the same command continues where this one ended", err=True)
        raise typer.Exit(130) from error
    if only in (None, "report") and not printing.quiet:
        typer.echo(f"report: {(folder / 'report.html').resolve()}")


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None, restart: Restart = None) -> None:
    """Carry out a whole recipe, continuing at the first stage that is not finished."""
    _execute(recipe, overrides, restart=restart)


def _stage_command(name: str) -> Callable[..., None]:
    def command(recipe: RecipeArgument, overrides: Overrides = None) -> None:
        _execute(recipe, overrides, name)

    return command


for stage in STAGES.values():
    app.command(stage.name, help=stage.help)(_stage_command(stage.name))


app.command()(attack)


@app.command()
def doctor() -> None:
    """Print versions, devices, threads and optional parts."""
    from perturbsets.doctor import lines

    typer.echo("\n".join(lines()))


@app.command()
def recipes() -> None:
    """List the packaged recipes, which `perturbsets run` finds by name."""
    from perturbsets.packaged_recipes import description, packaged_recipes

    found = packaged_recipes()
    width = max(map(len, found), default=0)
    for name, file in found.items():
        typer.echo(f"{name:{width}}  {description(file)}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the set; the file is NAME.yaml.")],
    pairs: Annotated[tuple[Path, Path], typer.Option(help="Two folders of images, before and after the change.")],
) -> None:
    """Write a commented recipe that learns a set from two folders of pairs, with settings that fit them."""
    from perturbsets.recipe.from_folders import write_recipe

    try:
        file = write_recipe(name, *pairs)
    except (ValueError, OSError) as error:
        if printing.verbose:
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"wrote {file}; next: perturbsets run {file}")


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from perturbsets.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def main() -> None:
    """Entry point of the command line."""
    app()
