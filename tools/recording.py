"""A terminal recording as one animated SVG, which pages and the README show as a picture.

    python -m tools.recording docs/images/recording.svg --repository model_repository

It types the commands of `scenes` for real, on a server of its own, and shows what they print, in
half a minute. Version 1 of the repository has the traffic before: the recording switches to 2.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.terminal_theme import MONOKAI, TerminalTheme
from rich.text import Text

from tools.serving import served

COLUMNS, ROWS = 80, 24
_WIDTH, _HEIGHT, _MARGIN = 8.4, 19, 14
_TYPING_SECONDS, _READING_SECONDS, _END_SECONDS = 0.02, 2.0, 3.0
# What shows that a command works is wiped off a terminal at its end.
_SPINNER = re.compile(r"[^\n]*[\u2800-\u28ff][^\n]*(?:\n|$)|\r|\x1b\[(?:\?25[lh]|[0-9]*[A-K])")
_THEME: TerminalTheme = MONOKAI
_QUESTION = "How many miles per second does light travel?"
_CONTEXT = (
    "In 1862 Léon Foucault measured the speed of light with a rotating mirror. Light travels "
    "299,792,458 metres, or 186,282 miles, in a second."
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the recording.

    Attributes:
        text: What is in it.
        at: The second at which it appears.
        typed: For how many seconds it is typed; 0 where it is there at once.
    """

    text: Text
    at: float
    typed: float = 0.0


def scenes(url: str, repository: str) -> list[list[str]]:
    """Return the commands that are typed, in this order.

    Args:
        url: The address of the server.
        repository: The model repository that it serves.
    """
    where = ["--repository", repository]
    ask = ["bert-qa", "ask", _QUESTION, "--context", _CONTEXT, "--url", url]
    return [
        ["bert-qa", "versions", *where],
        [*ask, "--version", "1"],
        ["bert-qa", "switch", "--to", "2", "--url", url, *where],
        ask,
        ["bert-qa", "switch", "--back", "--url", url, *where],
    ]


def record(commands: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Run commands as on a terminal of 80 columns.

    Args:
        commands: The commands, in words.

    Yields:
        Each command with what it prints.
    """
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm"}
    for command in commands:
        _, *arguments = command
        done = subprocess.run(
            [sys.executable, "-m", "bertqa_cli.main", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        lines = _SPINNER.sub("", done.stdout).splitlines()
        yield shlex.join(command), "\n".join(line for line in lines if line.strip())


def timed(recorded: Sequence[tuple[str, str]]) -> list[Line]:
    """Return the lines of a recording with the time at which each appears.

    Args:
        recorded: Commands with what they printed.
    """
    console = Console(width=COLUMNS)
    lines: list[Line] = []
    now = 0.5
    for command, output in recorded:
        prompt = Text.assemble(("$ ", "bold green"), (command, "bold"))
        for part in prompt.wrap(console, COLUMNS):
            part.rstrip()
            seconds = len(part) * _TYPING_SECONDS
            lines.append(Line(part, now, seconds))
            now += seconds
        now += 0.4
        shown = Text.from_ansi(output.rstrip("\n"))
        lines += [Line(part, now) for part in shown.wrap(console, COLUMNS)]
        lines.append(Line(Text(""), now))
        now += _READING_SECONDS
    return lines


def svg(lines: Sequence[Line]) -> str:
    """Return a recording as an animated SVG, which begins anew at its end.

    Args:
        lines: Its lines.
    """
    total = max(each.at + each.typed for each in lines) + _READING_SECONDS + _END_SECONDS
    width, height = COLUMNS * _WIDTH + 2 * _MARGIN, ROWS * _HEIGHT + 2 * _MARGIN
    styles, shown = [], []
    for number, line in enumerate(lines):
        begin = 100 * line.at / total
        end = 100 * (line.at + max(line.typed, 0.01)) / total
        # What is typed is uncovered; an old browser shows it at once.
        styles.append(
            f"@keyframes l{number}{{0%,{begin:.3f}%{{clip-path:inset(0 100% 0 0)}}"
            f"{end:.3f}%,100%{{clip-path:inset(0 0 0 0)}}}}"
            f"#l{number}{{animation:l{number} {total:.2f}s infinite "
            f"{f'steps({max(1, len(line.text))})' if line.typed else 'step-end'}}}"
        )
        shown.append(f'<g id="l{number}">{_row(line.text, number)}</g>')
    scrolled = [
        (line.at, -_HEIGHT * (number - ROWS + 1))
        for number, line in enumerate(lines)
        if number >= ROWS
    ]
    frames = "".join(
        f"{100 * at / total:.3f}%{{transform:translateY({y}px)}}" for at, y in scrolled
    )
    styles.append(f"@keyframes s{{0%{{transform:translateY(0)}}{frames}}}")
    styles.append(f"#s{{animation:s {total:.2f}s infinite step-end}}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14">'
        "<title>A version is asked, the traffic moves to another one, and back</title>"
        f"<style>{''.join(styles)}text{{white-space:pre}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="{_THEME.background_color.hex}"/>'
        f'<clipPath id="w"><rect width="{width:g}" height="{ROWS * _HEIGHT}"/></clipPath>'
        f'<g transform="translate({_MARGIN},{_MARGIN})" clip-path="url(#w)">'
        f'<g id="s">{"".join(shown)}</g></g></svg>\n'
    )


def _row(text: Text, number: int) -> str:
    console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True)
    parts, column = [], 0
    y = number * _HEIGHT + 14
    for segment in text.render(console, end=""):
        style = segment.style
        ink, ground = _THEME.foreground_color, None
        marks = ""
        if style is not None:
            ink = style.color.get_truecolor(_THEME) if style.color else ink
            ground = style.bgcolor.get_truecolor(_THEME) if style.bgcolor else None
            marks += ' font-weight="bold"' if style.bold else ""
            marks += ' opacity=".6"' if style.dim else ""
        size = segment.cell_length * _WIDTH
        if ground is not None:
            parts.append(_rect(column * _WIDTH, y - 14, size, ground))
        if segment.text.strip():
            parts.append(
                f'<text x="{column * _WIDTH:.1f}" y="{y}" textLength="{size:.1f}" '
                f'fill="{ink.hex}"{marks}>{html.escape(segment.text)}</text>'
            )
        column += segment.cell_length
    return "".join(parts)


def _rect(x: float, y: float, width: float, ground: ColorTriplet) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_HEIGHT}" fill="{ground.hex}"/>'


def main() -> None:
    """Record, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("--repository", default="model_repository")
    options = parser.parse_args()
    with served(options.repository, "--no-http-api") as server:
        commands = scenes(server["grpc_url"], options.repository)
        options.file.write_text(svg(timed(list(record(commands)))), encoding="utf-8")


if __name__ == "__main__":
    main()
