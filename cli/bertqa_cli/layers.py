"""Showing the layers of one version: what runs in which precision, and what quantising costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository
from bertqa_cli.console import print_json, print_table, stderr, stdout
from bertqa_cli.datasets import read_dataset
from bertqa_cli.progress import resumable, stages, working
from bertqa_cli.values import write_output

if TYPE_CHECKING:
    from bertqa_build.inspection import Inspection, Product
    from bertqa_build.sensitivity import Sensitivity

_NO_WORK = ("Const", "Input", "Output")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the layers' costs are measured on.

    Attributes:
        data: The data set.
        count: How many of its questions are asked, at most.
        work_dir: The work directory of the build, which keeps what is measured.
        again: Whether to measure again what was measured before.
    """

    data: str
    count: int
    work_dir: Path
    again: bool


def show_layers(
    repository: Repository,
    version: int,
    asked: Asked | None,
    *,
    model: str,
    plot: Path | None,
    json: bool,
) -> None:
    """Show one version, layer by layer.

    Args:
        repository: The model repository.
        version: The version's number.
        asked: What to measure the layers' costs on; None measures nothing.
        model: The name of the model.
        plot: Where to draw them.
        json: Whether to print JSON.
    """
    from bertqa_build import figures
    from bertqa_build.inspection import inspect

    with working("Compiling the version"):
        found = inspect(repository, version, model)
    costs = None if asked is None else _measure(repository, version, asked, model)
    if not json:
        _show(found, costs)
    if plot is not None:
        drawn = (
            figures.products(found, standalone=True)
            if costs is None
            else figures.sensitivity(costs, standalone=True)
        )
        write_output(plot, drawn)
        stderr.print(f"wrote {escape(str(plot))}")
    if json:
        print_json({**found.to_dict(), "sensitivity": costs and costs.to_dict()})


def _measure(repository: Repository, version: int, asked: Asked, model: str) -> Sensitivity:
    from bertqa_build.sensitivity import measure_sensitivity

    dataset = read_dataset(asked.data)
    first = replace(dataset, questions=dataset.questions[: asked.count])
    with resumable(), stages() as show:
        return measure_sensitivity(
            repository,
            version,
            first,
            model=model,
            work_dir=asked.work_dir,
            on_progress=show,
            again=asked.again,
        )


def _show(found: Inspection, costs: Sensitivity | None) -> None:
    executed = Table("operation", "precision", "number", title="What OpenVINO executes")
    for kind, counts in found.executed.items():
        if kind in _NO_WORK:
            continue
        for precision, count in counts.items():
            executed.add_row(kind, precision, str(count))
    print_table(executed)

    notes = numbered_reasons(found.products)
    table = Table("matrix product", "runs in", "activations")
    for product in found.products:
        table.add_row(
            product.name,
            f"{product.runs_in} {notes.get(product.reason, '')}".rstrip(),
            _ranges(product),
        )
    print_table(table)
    for reason, note in notes.items():
        stdout.print(f"{note} {escape(reason)}")
    stdout.print(
        f"[bold]Version {found.version} ({escape(found.manifest.precision)}):[/] "
        f"{in_int8(found.products)}."
    )
    if costs is not None:
        _show_costs(costs)


def _show_costs(costs: Sensitivity) -> None:
    table = Table("layer left in floating point", "F1", "95 % interval", "error")
    for cost in costs.layers:
        table.add_row(
            cost.name,
            f"{cost.f1.estimate:+.2f}",
            f"{cost.f1.low:+.2f} to {cost.f1.high:+.2f}",
            f"{-cost.error:+.0%}",
        )
    print_table(table)
    stdout.print(
        f"F1 {costs.f1:.2f} on {counted(costs.questions, 'question')} of "
        f"{escape(costs.dataset)}, and {costs.floating_f1:.2f} with all of these layers in "
        "floating point. error: how the distance of the logits from floating point changes. Where "
        "F1 rises by no more than chance, the layers are in the order of the error. "
        "`quantization.keep_floating_point` in a recipe leaves layers out."
    )
    partly = sum(cost.with_weights is False for cost in costs.layers)
    if partly:
        stdout.print(
            f"Of {counted(partly, 'layer')} the activations alone were left in floating point, "
            "and the weights stayed in INT8: the build's --work-dir does not have them as they "
            "were."
        )


def numbered_reasons(products: Iterable[Product]) -> dict[str, str]:
    """Return a mark for each reason why products do not run in INT8, such as `(1)`.

    Args:
        products: The matrix products.
    """
    reasons = dict.fromkeys(product.reason for product in products if not product.int8)
    return {reason: f"({number})" for number, reason in enumerate(reasons, start=1)}


def in_int8(products: Collection[Product]) -> str:
    """Return how many products run in INT8, in words.

    Args:
        products: The matrix products.
    """
    int8 = sum(product.int8 for product in products)
    return f"{int8} of {len(products)} matrix products in INT8"


def _ranges(product: Product) -> str:
    return "\n".join(f"{low:.3g} to {high:.3g}" for low, high in product.ranges)
