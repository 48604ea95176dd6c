from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.table import Table

from bertqa import Answer
from bertqa_cli.console import print_error, print_json, stdout
from bertqa_cli.formatting import (
    day,
    directory_size,
    headline,
    highlighted,
    human_size,
    milliseconds,
    score,
)


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
