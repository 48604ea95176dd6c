"""Where the command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# Escape sequences begin with ESC or with a C1 control; overrides of the direction reorder what is
# around them, on the rest of the line; half a surrogate pair cannot be encoded.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


# The columns of a table of names and values; how wide a column of texts has to be at least, and of
# a word that is longer than a line.
_PAIR = 2
_FOLDED = 9
_WORD = 18
_BOUNDLESS = 100_000


def visible(text: str) -> str:
    """Return a text with a code for each character that a terminal obeys instead of showing it.

    Line ends and tabs stay; ESC becomes `\\x1b`, an override of the direction `\\u202e`.

    Args:
        text: Any text, such as a context, an answer or the words of a server.
    """
    return _OBEYED.sub(_code, text.replace("\r\n", "\n"))


def _code(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _Console(Console):
    """A console that shows the control characters of a text, and so never obeys them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is shown; see `Console.render_str`.

        Rich drops some control characters of a text, and measures the others as nothing. What the
        terminal's alphabet has not is written as a code, which is measured here as well.
        """
        shown = visible(text)
        if not shown.isascii():
            shown = shown.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return super().render_str(shown, **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            each if each.control else each._replace(text=visible(each.text)) for each in buffer
        )


class LastResort(logging.Handler):
    """Prints the warnings of libraries, as `logging.lastResort` does, but with codes made visible.

    A warning may repeat the words of a server or of a file.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; see `logging.Handler.emit`."""
        try:
            stderr.print(escape(self.format(record)))
        except Exception:  # as each handler of the standard library
            self.handleError(record)


def _console(*, stderr: bool = False) -> Console:
    console = _Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    # Rich keeps the COLUMNS that it finds here; without a width it reads COLUMNS at each use.
    console._width = None
    return console


stdout = _console()
stderr = _console(stderr=True)


def sign(wanted: str, plain: str) -> str:
    """Return a sign, or what stands for it on a terminal that cannot show it.

    Args:
        wanted: The sign.
        plain: What every terminal can show.
    """
    try:
        wanted.encode(stderr.encoding)
    except (LookupError, UnicodeEncodeError):
        return plain
    return wanted


@dataclass(slots=True)
class JsonOutput:
    """The JSON document of a command line, of which there is one at most.

    Attributes:
        wanted: Whether the user wants one: by --json, typed or set in a file.
        printed: Whether it is printed, as by a server that is ready and runs on.
    """

    wanted: bool = False
    printed: bool = False


json_output = JsonOutput()


def print_json(value: Mapping[str, Any]) -> None:
    """Print the JSON document for machines, without styles whatever the terminal is.

    Args:
        value: The document, as its schema in `bertqa_cli/schemas` describes it.
    """
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not is_unicode)
    # What JSON leaves as it is: DEL, C1 and the like, which stand in strings only.
    print_document(_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_document(text: str) -> None:
    """Print the JSON document that a text is.

    Args:
        text: The text.
    """
    json_output.printed = True
    print(text, flush=True)


def print_text(text: str) -> None:
    """Print a text as it is, without markup.

    Args:
        text: The text; a line end is added.
    """
    stdout.print(text, markup=False)


def print_table(table: Table) -> None:
    """Print a table, no wider than the terminal and with every cell whole.

    Long texts are folded. What would leave them too little room is printed row by row, a line for
    each cell.

    Args:
        table: The table, of any width. Its cells are texts without markup; a title may have some.
    """
    for column in table.columns:
        if column.overflow == "ellipsis":
            column.overflow = "fold"
    if _least_width(table) <= stdout.width:
        stdout.print(table, soft_wrap=False, markup=False)
        return
    if table.title:
        stdout.print(table.title, style="bold")
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number and len(table.columns) > _PAIR:
            stdout.print()
        _print_row([str(column.header) for column in table.columns], [*map(_text, row)])


def _print_row(names: Sequence[str], cells: Sequence[Text]) -> None:
    heading = Text(f"{names[0]} ".lstrip(), style="bold").append_text(cells[0])
    stdout.print(heading, soft_wrap=False)
    pairs = Table(box=None, show_header=False, pad_edge=False, padding=(0, 0, 0, 2))
    pairs.add_column(overflow="fold")
    pairs.add_column(overflow="fold")
    for name, cell in zip(names[1:], cells[1:], strict=True):
        if cell.plain:
            pairs.add_row(name, cell)
    stdout.print(pairs, soft_wrap=False, markup=False)


def _least_width(table: Table) -> int:
    """Return the width below which a table cannot be read, as too little of a text is in a line."""
    least, most = 0, 0
    for column in table.columns:
        texts = [_text(each).plain for each in (column.header, *column.cells)]
        whole = max(cell_len(line) for text in texts for line in text.split("\n"))
        word = max((cell_len(word) for text in texts for word in text.split()), default=0)
        most += whole
        least += whole if column.no_wrap else min(whole, max(min(word, _WORD), _FOLDED))
    boundless = stdout.options.update(max_width=_BOUNDLESS)
    return stdout.measure(table, options=boundless).maximum - most + least


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def print_error(message: str, detail: str | None = None) -> None:
    """Print what went wrong, and what a server or a library reports about it.

    Args:
        message: What went wrong and what to do, in sentences.
        detail: The words of the server or library, printed as they are.
    """
    stderr.print(f"[bold red]error:[/] {escape(message)}")
    if detail:
        stderr.print(f"[dim]detail: {escape(detail)}[/]")


def print_warning(sentence: str) -> None:
    """Print what may be wrong although the work continues.

    Args:
        sentence: What it is.
    """
    stderr.print(f"[yellow]warning:[/] {escape(sentence)}")


def print_step(sentence: str) -> None:
    """Print a step of a longer change, for people who watch it.

    Args:
        sentence: The step that begins.
    """
    stderr.print(f"[cyan]{sign('•', '*')}[/] {escape(sentence)}")
