from __future__ import annotations

import io

import pytest
from rich.console import Console

from bertqa._progress import Progress
from bertqa_cli import progress as shown
from bertqa_cli.progress import amount, stages


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("Loading"), ""),
        (Progress("Evaluating", 3, 200, "questions"), "3 of 200 questions"),
        (Progress("Sending", 1_500_000, 3_000_000, "bytes"), "1.5 of 3.0 MB"),
        (Progress("Sending", 1_500_000, None, "bytes"), "1.5 MB"),
        (Progress("Training", 7), "7"),
    ],
)
def test_bytes_are_megabytes_and_everything_else_is_counted(progress: Progress, text: str) -> None:
    assert amount(progress) == text


def test_without_a_terminal_each_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with stages() as show:
        for done in range(3):
            show(Progress("Evaluating [1]", done, 2, "questions"))
        show(Progress("Publishing"))

    assert capsys.readouterr().err == "Evaluating [1]\nPublishing\n"


def test_on_a_terminal_each_stage_has_a_bar_with_its_amount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr(shown, "stderr", terminal)

    with stages() as show:
        show(Progress("Sending [model]", 1_000_000, 4_000_000, "bytes"))
        show(Progress("Checking", 1, 2, "files", "model.xml"))

    last = written.getvalue().rpartition("Sending [model]")[2]
    assert "1.0 of 4.0 MB" in last
    assert "1 of 2 files" in last
