"""What a build would do, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_table, stdout
from bertqa_cli.formatting import human_size
from bertqa_cli.latency import show_description

if TYPE_CHECKING:
    from bertqa_build.planning import Plan


def show_plan(plan: Plan, repository: str, model: str) -> None:
    """Print a plan.

    Args:
        plan: The plan.
        repository: Where versions would be published.
        model: The name of the model.
    """
    stdout.print(f"Read: {escape(plan.source)}")
    for sentence in plan.data:
        stdout.print(escape(f"{sentence}."))
    if plan.steps:
        table = Table("step", "about")
        for step in plan.steps:
            table.add_row(escape(step.what), human_time(step.seconds))
        table.add_row("all", human_time(plan.seconds), style="bold")
        print_table(table)
    if plan.pruning is not None:
        show_description(plan.pruning)
    for sentence in plan.published:
        stdout.print(f"{escape(sentence)}.")
    stdout.print(
        f"Published as {escape(model)} in {escape(repository)}. Disk: up to "
        f"{human_size(plan.disk.work)} for work and {human_size(plan.disk.repository)} for "
        f"versions. Memory: about {human_size(plan.memory)}; "
        f"{human_size(plan.free_memory)} are free."
    )
    if plan.memory > plan.free_memory:
        stdout.print("[yellow]The memory may not suffice.[/]")
    stdout.print("Nothing was written. The times are those of this machine as busy as it is now.")


def human_time(seconds: float) -> str:
    """Return a duration as people say it: `40 s`, `12 min`, `3.5 h`.

    Args:
        seconds: The duration.
    """
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
