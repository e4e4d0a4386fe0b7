"""The command line. Heavy imports happen inside the commands, so that help answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from perturbsets.attack_command import attack
from perturbsets.stages import STAGES
from perturbsets.terminal import errors_in_one_line, printing

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

Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if the set is not good.")]


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


def _execute(
    recipe: Path,
    overrides: list[str] | None,
    only: str | None = None,
    restart: str | None = None,
    strict: bool = False,
) -> None:
    """Carries out a recipe or one stage."""
    with errors_in_one_line(FloatingPointError):
        from perturbsets.recipe import read_recipe
        from perturbsets.runs import execute

        content = read_recipe(recipe, overrides or ())
        if strict and "check" not in content.stages:
            raise ValueError(f"--strict needs a recipe that checks a set, got the stages {', '.join(content.stages)}")
        done = execute(content, only, restart=restart, quiet=printing.quiet)
        failed = strict and done.grade() == "not good"
    if only in (None, "report") and not printing.quiet:
        typer.echo(f"report: {(done.path / 'report.html').resolve()}")
    if failed:
        typer.secho(f"the set is not good: {done.path / 'checks' / 'checks.json'} says why", fg="red", err=True)
        raise typer.Exit(3)


@app.command()
def run(recipe: RecipeArgument, overrides: Overrides = None, restart: Restart = None, strict: Strict = False) -> None:
    """Carry out a whole recipe, continuing at the first stage that is not finished."""
    _execute(recipe, overrides, restart=restart, strict=strict)


def _stage_command(name: str) -> Callable[..., None]:
    def command(recipe: RecipeArgument, overrides: Overrides = None) -> None:
        _execute(recipe, overrides, name)

    def judging(recipe: RecipeArgument, overrides: Overrides = None, strict: Strict = False) -> None:
        _execute(recipe, overrides, name, strict=strict)

    return judging if name == "check" else command


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

    with errors_in_one_line():
        file = write_recipe(name, *pairs)
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
