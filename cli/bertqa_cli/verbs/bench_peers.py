"""`bert-qa bench peers`: ours and what a user would write without it, in one measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository
from bertqa_cli.console import print_json, print_step, print_table, print_warning, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import Status
from bertqa_cli.hardware import say_what_int8_saves
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Json, Model
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import loading_the_build, resumable, stages
from bertqa_cli.values import Whole, output_directory, svg_file, write_output

if TYPE_CHECKING:
    from bertqa_build.bench.peers.result import PeersComparison, Row

_FEW = 100
DEFAULT_RECIPE = Path("build/recipes/demo.yaml")
# Those of the build, which is imported when all options are read.
PEERS = (
    *("pytorch", "torch-compile", "optimum-intel", "onnx-runtime", "deepsparse"),
    *("in-process", "local", "ovms"),
)


def bench_peers(
    recipe: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="The recipe that the versions are of."),
    ] = DEFAULT_RECIPE,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    data: Annotated[
        str | None, data_option("Questions; those that the recipe evaluates on if left out")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            click_type=click.Choice(PEERS),
            metavar="PEER",
            help=f"{', '.join(PEERS[:-1])} or {PEERS[-1]}; repeatable, all if left out.",
        ),
    ] = None,
    questions: Annotated[
        int,
        typer.Option(click_type=Whole(min=1), metavar="N", help="How many of the questions."),
    ] = 480,
    rounds: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="How many times each is measured, in turns."
        ),
    ] = 4,
    threads: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="Cores for each peer; all if left out."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=svg_file, help="Write the figure here, as SVG.")
    ] = None,
    work_dir: Annotated[
        Path,
        typer.Option(
            callback=output_directory,
            help="Where builds keep their trainings, and this its packages, models and results.",
        ),
    ] = Path(".work"),
    again: Annotated[bool, typer.Option("--again", help="Discard earlier results.")] = False,
    json: Json = False,
) -> None:
    """Measure questions per second and F1 of this project and of its peers, on the same cores.

    Peers are the question-answering pipeline of transformers 4 on PyTorch, ONNX Runtime and
    Optimum-Intel, and DeepSparse; their packages are installed beside the build's own ones. Each
    runs the same model in a process of its own, one after the other in every round. Run the same
    command again to resume.
    """
    from bertqa_build.recipe import load_recipe

    loaded = load_recipe(recipe, [])
    with loading_the_build():
        from bertqa_build.bench.peers.plan import Kind, Plan
        from bertqa_build.bench.peers.run import compare_peers
        from bertqa_build.bench.run import cores_for
        from bertqa_build.recipe_data import RecipeData

    dataset = read_dataset(data) if data else RecipeData(loaded).evaluation
    plan = Plan(
        recipe=loaded,
        repository=Repository(repository),
        dataset=replace(dataset, questions=dataset.questions[:questions]),
        cores=cores_for(threads),
        rounds=rounds,
        kinds=tuple(each for each in Kind if each in (peer or PEERS)),
        model=model,
    )
    say_what_int8_saves()
    with resumable(), stages() as show:
        found = compare_peers(plan, work_dir, show, again=again)
    if found.kept is not None:
        print_step(
            f"Kept from {found.kept.until}: {found.kept.rounds} of "
            f"{len(found.rows) * found.rounds} rounds; --again measures anew"
        )
    if found.questions < _FEW:
        print_warning(
            f"{counted(found.questions, 'question')}: one answer moves F1 by up to "
            f"{100 / found.questions:.1f} points; ask {_FEW} or more (--questions, --data)"
        )
    if not json:
        _show(found)
    if plot is not None:
        _write_plot(plot, found)
    if json:
        print_json(found.to_dict())
    if not found.measured:
        raise typer.Exit(Status.FAILED)


def _show(found: PeersComparison) -> None:
    stdout.print(f"[bold]{escape(found.model)}[/]")
    stdout.print(f"{escape(found.machine)}; threads for each: {found.threads}")
    rounds = "1 round" if found.rounds == 1 else f"medians of {found.rounds} rounds"
    questions = counted(found.questions, "question")
    stdout.print(f"{questions} of {escape(found.dataset)}; {rounds}")
    best, reference = found.best_foreign, found.reference
    ratio = [] if best is None else ["ratio"]
    names = ("peer", "model", "computes in", "questions per second", "spread")
    headers = (*names, *ratio, "F1", "EM", "lost")
    table = Table(*headers, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for row in found.rows:
        table.add_row(*_cells(found, row))
    print_table(table)
    if best is not None:
        stdout.print(f"The ratio is to the best of the others: {escape(str(best.peer))}.")
    if reference is not None:
        stdout.print(f"Lost: the share of the F1 of {escape(str(reference.peer))} that is missing.")
    if any(row.peer.speedup for row in found.rows):
        stdout.print("A model with a factor was pruned to be so many times as fast.")
    for high, low in found.differing:
        stdout.print(escape(_difference(high, low, found.questions)))
    for row in found.measured:
        packages = ", ".join(f"{name} {number}" for name, number in row.packages.items())
        facts = "; ".join((packages, row.way, *(each.rstrip(".") for each in row.notes)))
        stdout.print(f"  {escape(str(row.peer))}: [dim]{escape(facts)}[/]")
    for row in found.rows:
        if row.reason:
            print_warning(f"{row.peer} was not run: {row.reason}")


def _cells(found: PeersComparison, row: Row) -> list[str]:
    peer = row.peer
    model = f"{peer.model}, v{peer.version}" if peer.kind.is_ours else peer.model
    first = [peer.kind.label, model, peer.computes_in]
    if not row.seconds:
        return [*first, "not run"]
    ratio, loss = found.ratio(row), found.loss(row)
    return [
        *first,
        f"{row.questions_per_second:.2f}",
        "" if row.spread is None else f"{row.spread:.0%}",
        *([] if ratio is None else [f"{ratio:.2f}x"]),
        f"{row.f1:.2f}",
        f"{row.exact_match:.2f}",
        "" if loss is None else f"{loss:.2f} %",
    ]


def _difference(high: Row, low: Row, questions: int) -> str:
    first, second = (
        f"{row.f1:.2f} by {row.peer.kind.label} in {row.peer.computes_in}" for row in (high, low)
    )
    return (
        f"F1 of version {high.peer.version} differs by {high.f1 - low.f1:.2f}: {first}, {second}. "
        f"One of {questions} questions makes up to {100 / questions:.2f}: few may do that."
    )


def _write_plot(path: Path, found: PeersComparison) -> None:
    from bertqa_build.bench.peers.chart import draw

    write_output(path, draw(found))
