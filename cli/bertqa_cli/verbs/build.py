"""`bert-qa build`: a recipe becomes published versions."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import GateResult, Repository
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.errors import CommandError
from bertqa_cli.formatting import directory_size, human_size
from bertqa_cli.options import DEFAULT_REPOSITORY, Json
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import resumable, stages
from bertqa_cli.values import Whole, output_directory

if TYPE_CHECKING:
    from bertqa_build.recipe import Recipe
    from bertqa_build.reproducibility import Reproducibility
    from bertqa_build.result import BuildResult, BuiltVersion


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
    check_reproducible: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="Build N times again, elsewhere, and compare what each stage made; exit status 1 "
            "where it is not the same.",
        ),
    ] = None,
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
    found = None
    if check_reproducible is not None:
        found = _compare(loaded, Repository(repository), work_dir, result, check_reproducible)
    if json:
        print_json({**result.to_dict(), "reproducibility": found and found.to_dict()})
        _require_same(found)
        return
    table = Table("version", "precision", "size on disk", "exact match", "F1", "")
    for built in (result.fp32, result.int8):
        table.add_row(
            str(built.version),
            built.precision,
            human_size(directory_size(built.directory)),
            f"{built.scores.exact_match:.2f}",
            f"{built.scores.f1:.2f}",
            _fate(built),
        )
    print_table(table)
    for built in (result.fp32, result.int8):
        for line in _judgement(built.gate):
            stdout.print(f"Version {built.version}: {escape(line)}")
    stdout.print(
        f"Scored on {result.fp32.scores.questions} questions of "
        f"{escape(result.fp32.scores.dataset)}. Next: bert-qa serve --repository "
        f"{escape(shlex.quote(str(repository)))}"
    )
    if found is not None:
        _show_comparison(found)
        _require_same(found)


def _compare(
    recipe: Recipe, repository: Repository, work_dir: Path, result: BuildResult, builds: int
) -> Reproducibility:
    from bertqa_build.reproducibility import check_reproducible

    with stages() as show:
        return check_reproducible(recipe, repository, work_dir, result, builds, on_progress=show)


def _show_comparison(found: Reproducibility) -> None:
    table = Table("stage", "the same bytes", title=f"Built {found.builds + 1} times")
    for stage in found.stages:
        there = sum(bool(digest) for digest in stage.digests)
        same = "yes" if stage.is_same else "no"
        kept = there == len(stage.digests)
        table.add_row(stage.name, same if kept else f"{same}, in the {there} that are kept")
    print_table(table)
    for note in found.notes:
        stdout.print(escape(note))


def _require_same(found: Reproducibility | None) -> None:
    """Refuse builds that differ.

    Raises:
        CommandError: They differ; the message names the first stage.
    """
    if found is not None and found.differing is not None:
        raise CommandError(
            f"The build is not reproducible: its stage {found.differing.name!r} made other bytes. "
            "What was published stays."
        )


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
