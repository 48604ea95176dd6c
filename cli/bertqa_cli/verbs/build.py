"""`bert-qa build`: a recipe becomes published versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import GateResult, Repository
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.formatting import directory_size, human_size
from bertqa_cli.options import DEFAULT_REPOSITORY, Json
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import resumable, stages
from bertqa_cli.values import output_directory

if TYPE_CHECKING:
    from bertqa_build.pruning.pareto import Point
    from bertqa_build.result import BuiltVersion


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
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a latency table of another CPU or OpenVINO than there is here."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Build an FP32 and an INT8 version from a checkpoint, score them, and publish them.

    With `pruning:` in the recipe, also smaller ones, a pair for each speed-up.
    """
    from bertqa_build.errors import RecipeError, StoppedElsewhereError
    from bertqa_build.processes import is_first
    from bertqa_build.quiet import quiet
    from bertqa_build.recipe import load_recipe

    try:
        loaded = load_recipe(recipe, overrides or ())
        with quiet():
            from bertqa_build.pipeline import build as build_versions
            from bertqa_build.pruning.pareto import family_of_version
        if not is_first():
            build_versions(loaded, Repository(repository), work_dir, force=force, strict=strict)
            return
    except (RecipeError, StoppedElsewhereError) as error:
        if is_first():
            raise
        raise typer.Exit(1) from error
    with resumable(), stages() as show:
        result = build_versions(
            loaded,
            Repository(repository),
            work_dir,
            force=force,
            strict=strict,
            on_progress=show,
        )
    family = family_of_version(Repository(repository), result.fp32.version)
    if json:
        points = [each.to_dict() for each in family]
        print_json(result.to_dict() | ({"family": points} if points else {}))
        return
    table = Table("version", "precision", "size on disk", "exact match", "F1", "")
    for built in result.versions:
        table.add_row(
            str(built.version),
            built.precision,
            human_size(directory_size(built.directory)),
            f"{built.scores.exact_match:.2f}",
            f"{built.scores.f1:.2f}",
            _fate(built),
        )
    print_table(table)
    if family:
        _show_family(family)
    for built in result.versions:
        for line in _judgement(built.gate):
            stdout.print(f"Version {built.version}: {escape(line)}")
    stdout.print(
        f"Scored on {result.fp32.scores.questions} questions of "
        f"{escape(result.fp32.scores.dataset)}. Next: bert-qa serve --repository "
        f"{escape(shlex.quote(str(repository)))}"
    )


def _show_family(family: Sequence[Point]) -> None:
    """Show what speed and F1 the versions have that were pruned from one."""
    table = Table(
        "version", "precision", "asked", "measured", "against FP32", "F1", "best at its speed"
    )
    for each in family:
        table.add_row(
            str(each.version),
            each.precision,
            f"{each.asked:g}x",
            f"{each.measured:.2f}x",
            f"{each.over_fp32:.2f}x",
            f"{each.scores.f1:.2f}",
            "yes" if each.on_front else "",
        )
    print_table(table)


def _fate(built: BuiltVersion) -> str:
    fate = "was there already" if built.present else "published"
    return f"{fate}, forced" if built.gate and built.gate.forced else fate


def _judgement(gate: GateResult | None) -> Iterator[str]:
    """Yield what a gate found, in sentences."""
    if gate is None:
        return
    if gate.f1_drop is not None and gate.f1_drop_low is not None and gate.f1_drop_high is not None:
        yield (
            f"F1 {'fell' if gate.f1_drop > 0 else 'rose'} by {abs(gate.f1_drop):.2f} points (95 % "
            f"interval of the drop: {gate.f1_drop_low:+.2f} to {gate.f1_drop_high:+.2f})."
        )
    if gate.latency_ratio is not None:
        yield f"A window takes {gate.latency_ratio:.2f} times as long as in FP32."
    if gate.reasons:
        yield f"The gate refused it, and --force published it: {'; '.join(gate.reasons)}."
    yield from gate.notes
