"""`bert-qa inspect`: a version's graph, and what changed from one to another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import IR_FILE, Repository
from bertqa_cli.console import print_json, print_table, stderr, stdout
from bertqa_cli.datasets import data_option
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.formatting import human_size
from bertqa_cli.layers import Asked, in_int8, numbered_reasons, show_layers
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Json, Model
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import loading_the_build, working
from bertqa_cli.values import (
    Whole,
    output_directory,
    output_file,
    refuse_typed,
    svg_file,
    write_output,
)
from bertqa_cli.verb import alone

if TYPE_CHECKING:
    from bertqa_build.inspection import Inspection


def inspect(
    before: Annotated[int, typer.Argument(click_type=Whole(min=1), metavar="N", help="A version.")],
    after: Annotated[
        int | None,
        typer.Argument(
            click_type=Whole(min=1), metavar="[N]", help="The version to compare it with."
        ),
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    report: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Write one self-contained HTML page here."),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Show one version: the precision of each layer, and the ranges of its "
            "activations.",
        ),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Measure what each quantised layer costs, by leaving it in floating point; this "
            "needs --data.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        data_option("Questions with answers, such as those that the recipe calibrates on"),
    ] = None,
    questions: Annotated[
        int,
        typer.Option(click_type=Whole(min=2), metavar="N", help="How many of them are asked."),
    ] = 100,
    work_dir: Annotated[
        Path,
        typer.Option(
            callback=output_directory,
            help="The work directory of the build; if it still has the version's weights, these "
            "are put back too. What is measured is kept there.",
        ),
    ] = Path(".work"),
    again: Annotated[
        bool, typer.Option("--again", help="Discard what --sensitivity measured earlier.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(callback=svg_file, help="Draw the layers into this SVG file."),
    ] = None,
    netron: Annotated[
        bool, typer.Option("--netron", help="Open both graphs in Netron, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what changed in the graph from one version to another, or the layers of one.

    Run the same command again to resume an interrupted --sensitivity.
    """
    _check(before, after, sensitivity=sensitivity, report=report, data=data)
    from bertqa_build.inspection import inspect as inspect_version

    versions = Repository(repository)
    if after is None:
        asked = None if data is None else Asked(data, questions, work_dir, again)
        show_layers(versions, before, asked, model=model, plot=plot, json=json)
        if netron:
            _open(versions, model, before)
        return
    for version in (before, after):
        versions.require_version(version, model)
    with working("Compiling both versions"):
        first, second = (inspect_version(versions, version, model) for version in (before, after))
    if not json:
        _show(first, second)
    if report is not None:
        _write_report(report, versions, first, second, model)
        stderr.print(f"wrote {escape(str(report))}")
    if json:
        print_json({"before": first.to_dict(), "after": second.to_dict()})
    if netron:
        _open(versions, model, before, after)


def _check(
    before: int,
    after: int | None,
    *,
    sensitivity: bool,
    report: Path | None,
    data: str | None,
) -> None:
    """Refuse options that do not go together.

    Raises:
        CommandError: Some do not.
    """
    if after is not None:
        for_one = ("layers", "sensitivity", "data", "questions", "work_dir", "again", "plot")
        refuse_typed(for_one, f"for one version: `bert-qa inspect {before} --layers`.")
    elif report is not None:
        raise CommandError(
            "--report compares two versions: name the second one too.", status=Status.USAGE
        )
    elif not sensitivity:
        refuse_typed(("data", "questions", "work_dir", "again"), "for --sensitivity.")
    elif data is None:
        raise CommandError(
            "--sensitivity asks questions: name some with answers with --data, such as those that "
            "the recipe calibrates on.",
            status=Status.USAGE,
        )


def _open(repository: Repository, model: str, *versions: int) -> None:
    """Serve the graphs of versions in Netron until Ctrl-C."""
    addresses = start_netron(repository, *versions, model=model)
    for version, address in zip(versions, addresses, strict=True):
        stderr.print(f"version {version}: {address}")
    threading.Event().wait()


def _write_report(
    path: Path, repository: Repository, before: Inspection, after: Inspection, model: str
) -> None:
    from bertqa_build.inspection import measure_speed
    from bertqa_build.report import render

    with loading_the_build():
        from bertqa_build.machine import machine
        from bertqa_build.pruning.pareto import family_of_version

    with working("Measuring the speed of both versions"):
        speeds = measure_speed(repository, (before.version, after.version), model=model)
    family = family_of_version(repository, after.version, model)
    write_output(path, render(before, after, speeds, machine(), family))


def _show(before: Inspection, after: Inspection) -> None:
    from bertqa_build.inspection import operation_changes

    names = [f"version {each.version} ({each.manifest.precision})" for each in (before, after)]
    sizes = Table("", *names, title="On disk")
    for file in dict.fromkeys([*before.sizes, *after.sizes]):
        sizes.add_row(
            file,
            *(
                human_size(each.sizes[file]) if file in each.sizes else ""
                for each in (before, after)
            ),
        )
    print_table(sizes)

    operations = Table("operation", *names, "change", title="Operations of the IR")
    for kind, old, new in operation_changes(before, after):
        operations.add_row(kind, str(old), str(new), f"{new - old:+d}" if new != old else "")
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        old, new = before.quantizers[kind], after.quantizers[kind]
        operations.add_row(f"{kind} (ONNX)", str(old), str(new), f"{new - old:+d}")
    print_table(operations)

    notes = numbered_reasons([*before.products, *after.products])
    runs_in: dict[str, dict[int, str]] = {}
    for each in (before, after):
        for product in each.products:
            shown = f"{product.runs_in} {notes.get(product.reason, '')}"
            runs_in.setdefault(product.name, {})[each.version] = shown
    table = Table("matrix product", *(f"{each.version} runs it in" for each in (before, after)))
    for place, by_version in runs_in.items():
        table.add_row(place, *(by_version.get(each.version, "") for each in (before, after)))
    print_table(table)
    for each, name in zip((before, after), names, strict=True):
        stdout.print(f"[bold]{escape(name)}:[/] {in_int8(each.products)}")
    for reason, note in notes.items():
        stdout.print(f"{note} {escape(reason)}")


def start_netron(
    repository: Repository, *versions: int, model: str = DEFAULT_MODEL, browse: bool = True
) -> list[str]:
    """Serve the graphs of versions in Netron.

    Args:
        repository: The model repository.
        *versions: The versions' numbers.
        model: The name of the model.
        browse: Whether to open the browser.

    Returns:
        The address of each version.
    """
    import netron

    addresses = []
    for version in versions:
        path = repository.require_version(version, model) / IR_FILE
        host, port = netron.start(str(path), browse=browse)
        addresses.append(f"http://{host}:{port}")
    return addresses


app = alone(inspect)
