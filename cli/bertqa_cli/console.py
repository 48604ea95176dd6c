"""Where the command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_SHOWN = str.maketrans({**_CONTROL, ord("\n"): "\n", ord("\t"): "\t"})


class _Console(Console):
    """A console that shows the control characters of a text, and so never obeys them."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            each if each.control else each._replace(text=each.text.translate(_SHOWN))
            for each in buffer
        )


def _console(*, stderr: bool = False) -> Console:
    console = _Console(stderr=stderr, highlight=False, soft_wrap=True)
    # Rich keeps the COLUMNS that it finds here; without a width it reads COLUMNS at each use.
    console._width = None
    return console


stdout = _console()
stderr = _console(stderr=True)


def print_json(value: Any) -> None:
    """Print one JSON document for machines, without styles whatever the terminal is.

    Args:
        value: What `json.dumps` takes.
    """
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=not is_unicode), flush=True)


def print_table(table: Table) -> None:
    """Print a table, no wider than the terminal.

    Args:
        table: The table, of any width.
    """
    stdout.print(table, soft_wrap=False)


def print_error(message: str, detail: str | None = None) -> None:
    """Print what went wrong, and what a server or a library reports about it.

    Args:
        message: What went wrong and what to do, in sentences.
        detail: The words of the server or library, printed as they are.
    """
    stderr.print(f"[bold red]error:[/] {escape(message)}")
    if detail:
        stderr.print(f"[dim]detail: {escape(detail)}[/]")


def print_step(sentence: str) -> None:
    """Print a step of a longer change, for people who watch it.

    Args:
        sentence: The step that begins.
    """
    stderr.print(f"[cyan]•[/] {escape(sentence)}")
