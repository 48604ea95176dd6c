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
from bertqa_cli.formatting import human_size
from bertqa_cli.options import DEFAULT_REPOSITORY, Json
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.values import Whole, output_file, write_output

if TYPE_CHECKING:
    from bertqa_build.inspection import Inspection


def inspect(
    before: Annotated[int, typer.Argument(click_type=Whole(min=1), metavar="N", help="A version.")],
    after: Annotated[
        int,
        typer.Argument(
            click_type=Whole(min=1), metavar="N", help="The version to compare it with."
        ),
    ],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    report: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Write one self-contained HTML page here."),
    ] = None,
    netron: Annotated[
        bool, typer.Option("--netron", help="Open both graphs in Netron, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what changed in the graph from one version to another."""
    from bertqa_build.inspection import inspect as inspect_version

    versions = Repository(repository)
    for version in (before, after):
        versions.require_version(version)
    first, second = (inspect_version(versions, version) for version in (before, after))
    if report is not None:
        _write_report(report, versions, first, second)
        stderr.print(f"wrote {escape(str(report))}")
    if json:
        print_json({"before": first.to_dict(), "after": second.to_dict()})
    else:
        _show(first, second)
    if netron:
        for version, address in zip(
            (before, after), start_netron(versions, before, after), strict=True
        ):
            stderr.print(f"version {version}: {address}")
        threading.Event().wait()


def _write_report(
    path: Path, repository: Repository, before: Inspection, after: Inspection
) -> None:
    from bertqa_build.inspection import measure_speed
    from bertqa_build.quiet import quiet
    from bertqa_build.report import render

    with quiet():
        from bertqa_build.machine import machine
        from bertqa_build.pruning.pareto import family_of_version

    speeds = measure_speed(repository, (before.version, after.version))
    family = family_of_version(repository, after.version)
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

    every = [product for each in (before, after) for product in each.products]
    reasons = dict.fromkeys(product.reason for product in every if not product.int8)
    notes = {reason: f"({number})" for number, reason in enumerate(reasons, start=1)}
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
        int8 = sum(product.int8 for product in each.products)
        products = f"{int8} of {len(each.products)} matrix products in INT8"
        stdout.print(f"[bold]{escape(name)}:[/] {products}")
    for reason, note in notes.items():
        stdout.print(f"{note} {escape(reason)}")


def start_netron(repository: Repository, *versions: int, browse: bool = True) -> list[str]:
    """Serve the graphs of versions in Netron.

    Args:
        repository: The model repository.
        *versions: The versions' numbers.
        browse: Whether to open the browser.

    Returns:
        The address of each version.
    """
    import netron

    addresses = []
    for version in versions:
        path = repository.require_version(version) / IR_FILE
        host, port = netron.start(str(path), browse=browse)
        addresses.append(f"http://{host}:{port}")
    return addresses
