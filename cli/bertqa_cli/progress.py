"""Showing long work on standard error: a bar for each stage, a line where no bar can be drawn."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column

from bertqa._progress import OnProgress, Progress
from bertqa_cli.console import sign, stderr, visible
from bertqa_cli.errors import Terminated
from bertqa_cli.importing import uncollected

BYTES = "bytes"

# Below it the room is for what is done, and how much of it.
_WIDE = 100
_HEARTBEAT_SECONDS = 60.0


@contextlib.contextmanager
def stages() -> Iterator[OnProgress]:
    """Show stages one under the other; SIGTERM ends the block as Ctrl-C does.

    What takes stages may have started servers and processes, which have to end with it. Where
    standard error is not a terminal that can redraw a line, each stage has a line when it begins,
    and one a minute while it lasts.

    Yields:
        The callback for whatever reports its progress.
    """
    with ending_on_sigterm():
        if _can_redraw():
            with _bars() as show:
                yield show
        else:
            yield lines()


@contextlib.contextmanager
def _bars() -> Iterator[OnProgress]:
    is_wide = stderr.width >= _WIDE
    note = TextColumn("{task.fields[note]}", style="dim", markup=False)
    with Bars(
        SpinnerColumn(_spinner(), finished_text=f"[green]{sign('✓', '+')}[/]"),
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
        BarColumn(bar_width=24 if is_wide else 10),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        *((note,) if is_wide else ()),
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
def working(sentence: str) -> Iterator[None]:
    """Show that work is done which cannot be counted; nothing of it stays on the screen.

    Args:
        sentence: What it is, without a full stop.
    """
    if not _can_redraw():
        yield
        return
    with stderr.status(escape(_one_line(sentence)), spinner=_spinner()):
        yield


@contextlib.contextmanager
def loading_the_build() -> Iterator[None]:
    """Let the block import what a build needs, which takes seconds and has much to say."""
    with working("Loading PyTorch, NNCF and OpenVINO"), uncollected():
        from bertqa_build.quiet import quiet

        with quiet():
            yield


def _spinner() -> str:
    return "dots" if sign("⠋", "") else "line"


def _can_redraw() -> bool:
    return stderr.is_terminal and not stderr.is_dumb_terminal


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Name the way to resume where a signal ends what a second run would complete."""
    try:
        with ending_on_sigterm():
            yield
    except (KeyboardInterrupt, Terminated):
        stderr.print("[dim]Run the same command again to resume.[/]")
        raise


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
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
        if signal.getsignal(signal.SIGTERM) is end:  # A server that runs on may have its own.
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


def lines(clock: Callable[[], float] = time.monotonic) -> OnProgress:
    """Return a callback that prints a line for each stage, and one a minute while it lasts.

    Args:
        clock: The seconds of a clock.
    """
    current, printed = "", clock()

    def show(progress: Progress) -> None:
        nonlocal current, printed
        if progress.stage != current:
            line = progress.stage
        elif clock() - printed >= _HEARTBEAT_SECONDS and amount(progress):
            line = f"{progress.stage}: {amount(progress)}"
        else:
            return
        current, printed = progress.stage, clock()
        stderr.print(_one_line(line), markup=False)

    return show
