"""Showing long work on standard error: a line for each stage, a bar where it can be counted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bertqa._progress import OnProgress, Progress
from bertqa_cli.console import stderr, visible
from bertqa_cli.errors import Terminated

BYTES = "bytes"


@contextlib.contextmanager
def stages() -> Iterator[OnProgress]:
    """Show stages one under the other; where standard error is not a terminal, a line for each.

    Yields:
        The callback for whatever reports its progress.
    """
    if not stderr.is_terminal:
        yield _lines()
        return
    with Bars(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=stderr,
    ) as bars:
        current: tuple[str, TaskID] | None = None

        def show(progress: Progress) -> None:
            nonlocal current
            if current is None or current[0] != progress.stage:
                _finish(bars, current)
                task = bars.add_task(_one_line(progress.stage), total=None, amount="", note="")
                current = progress.stage, task
            bars.update(
                current[1],
                completed=progress.done,
                total=progress.total,
                amount=amount(progress),
                note=_one_line(progress.note),
            )

        yield show
        _finish(bars, current)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Name the way to resume where a signal ends what a second run would complete."""
    try:
        with _ending_on_sigterm():
            yield
    except (KeyboardInterrupt, Terminated):
        stderr.print("[dim]Run the same command again to resume.[/]")
        raise


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM would end the process, as Ctrl-C raises an exception."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # A second one ends it at once.
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def amount(progress: Progress) -> str:
    """Return how much of a stage is done: bytes in MB, everything else as a count."""
    if progress.total is None and not progress.done:
        return ""
    is_bytes = progress.unit == BYTES
    figures = [
        f"{figure / 1e6:.1f}" if is_bytes else f"{figure}"
        for figure in (progress.done, progress.total)
        if figure is not None
    ]
    return f"{' of '.join(figures)} {'MB' if is_bytes else progress.unit}".rstrip()


def _one_line(text: str) -> str:
    """Return a text as it is shown: the name of a file may hold anything, line ends too."""
    return visible(text).replace("\n", "\\n")


def _finish(bars: Bars, current: tuple[str, TaskID] | None) -> None:
    if current is None:
        return
    task = next(task for task in bars.tasks if task.id == current[1])
    total = task.total if task.total is not None else 1
    bars.update(current[1], total=total, completed=total, note="")


def _lines() -> OnProgress:
    current = ""

    def show(progress: Progress) -> None:
        nonlocal current
        if progress.stage != current:
            current = progress.stage
            stderr.print(_one_line(progress.stage), markup=False)

    return show
