from __future__ import annotations

import io
import re
import signal

import pytest
from rich.console import Console

from bertqa._progress import Progress
from bertqa_cli import progress as shown
from bertqa_cli.progress import amount, ending_on_sigterm, lines, stages, working


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


def test_the_end_of_stages_leaves_a_server_its_own_handler_of_sigterm() -> None:
    def stop(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ending_on_sigterm():
            signal.signal(signal.SIGTERM, stop)
        assert signal.getsignal(signal.SIGTERM) is stop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with ending_on_sigterm():
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_terminal_each_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with stages() as show:
        for done in range(3):
            show(Progress("Evaluating [1]", done, 2, "questions"))
        show(Progress("Publishing"))

    assert capsys.readouterr().err == "Evaluating [1]\nPublishing\n"


def test_without_a_terminal_a_long_stage_says_once_a_minute_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    show = lines(lambda: now)

    for done in range(5):
        now = done * 25.0
        show(Progress("Leaving layers out", done, 72, "layers"))

    err = capsys.readouterr().err
    assert err == "Leaving layers out\nLeaving layers out: 3 of 72 layers\n"


@pytest.mark.parametrize("columns", [60, 80])
def test_a_bar_fits_a_narrow_terminal_with_its_stage_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(
        shown, "stderr", Console(file=written, force_terminal=True, width=columns, no_color=True)
    )

    with stages() as show:
        show(Progress("Leaving one layer after the other in floating point", 3, 72, "layers"))

    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).replace("\r", "\n")
    assert "…" not in last
    assert max(map(len, last.splitlines())) <= columns
    assert "3 of 72 layers" in last
    assert "floating" in last


@pytest.mark.parametrize("kind", ["pipe", "dumb", "terminal"])
def test_what_cannot_be_counted_is_shown_where_a_line_can_be_redrawn(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb" if kind == "dumb" else "xterm")
    written = io.StringIO()
    monkeypatch.setattr(shown, "stderr", Console(file=written, force_terminal=kind != "pipe"))

    with working("Loading [version] 1"):
        pass

    assert ("Loading [version] 1" in written.getvalue()) == (kind == "terminal")


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
