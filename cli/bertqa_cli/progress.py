"""Showing long work on standard error: a line for each stage, a bar where it can be counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from bertqa_cli.console import stderr

Show = Callable[[str, int, int | None, str], None]
"""Called with a stage's name, how much of it is done, of how much (None: not countable), a note."""


@contextlib.contextmanager
def stages() -> Iterator[Show]:
    """Show stages one under the other; where standard error is no terminal, a line for each."""
    if not stderr.is_terminal:
        yield _lines()
        return
    with Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}[/]"),
        console=stderr,
    ) as progress:
        current: tuple[str, TaskID] | None = None

        def show(stage: str, done: int, total: int | None, note: str) -> None:
            nonlocal current
            if current is None or current[0] != stage:
                _finish(progress, current)
                current = stage, progress.add_task(escape(stage), total=total, note="")
            progress.update(current[1], completed=done, total=total, note=escape(note))

        yield show
        _finish(progress, current)


def _finish(progress: Progress, current: tuple[str, TaskID] | None) -> None:
    if current is None:
        return
    task = progress.tasks[current[1]]
    total = task.total if task.total is not None else 1
    progress.update(current[1], total=total, completed=total, note="")


def _lines() -> Show:
    current = ""

    def show(stage: str, done: int, total: int | None, note: str) -> None:
        nonlocal current
        if stage != current:
            current = stage
            stderr.print(escape(stage))

    return show
