"""`bert-qa build`: a recipe becomes published versions."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import Repository
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.formatting import directory_size, human_size
from bertqa_cli.options import DEFAULT_REPOSITORY, Json
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import resumable, stages
from bertqa_cli.values import output_directory


def build(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The recipe, a YAML file.")
    ],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    work_dir: Annotated[
        Path,
        typer.Option(
            callback=output_directory,
            help="Where trainings keep their checkpoints, to resume from.",
        ),
    ] = Path(".work"),
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Replace the value of one of the recipe's keys; repeatable.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even what the quality gate refuses.")
    ] = False,
    json: Json = False,
) -> None:
    """Build an FP32 and an INT8 version from a checkpoint, score them, and publish them."""
    from bertqa_build.errors import RecipeError, StoppedElsewhereError
    from bertqa_build.processes import is_first
    from bertqa_build.quiet import quiet
    from bertqa_build.recipe import load_recipe

    try:
        loaded = load_recipe(recipe, overrides or ())
        with quiet():
            from bertqa_build.pipeline import build as build_versions
        if not is_first():
            build_versions(loaded, Repository(repository), work_dir, force=force)
            return
    except (RecipeError, StoppedElsewhereError) as error:
        if is_first():
            raise
        raise typer.Exit(1) from error
    with resumable(), stages() as show:
        result = build_versions(
            loaded, Repository(repository), work_dir, force=force, on_progress=show
        )
    if json:
        print_json(result.to_dict())
        return
    table = Table("version", "precision", "size on disk", "exact match", "F1", "")
    for built in (result.fp32, result.int8):
        table.add_row(
            str(built.version),
            built.precision,
            human_size(directory_size(built.directory)),
            f"{built.scores.exact_match:.2f}",
            f"{built.scores.f1:.2f}",
            "was there already" if built.present else "published",
        )
    print_table(table)
    stdout.print(
        f"Scored on {result.fp32.scores.questions} questions of "
        f"{escape(result.fp32.scores.dataset)}. Next: bert-qa serve --repository "
        f"{escape(shlex.quote(str(repository)))}"
    )
