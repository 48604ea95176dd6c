"""A newcomer's walk over all verbs, on every kind of terminal there is, and in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa.artifact import Scores
from bertqa_cli.connection import VARIABLES
from bertqa_cli.topics import TOPICS
from tests.cli.test_help import ALL
from tests.cli.test_terminal import CODES
from tests.support.checkpoints import write_squad
from tests.support.documents import verb_of
from tests.support.engines import Served, toy_server
from tests.support.models import write_manifest

AZUREML = Path(__file__).parents[2] / "deploy" / "azureml"
RECIPE = Path(__file__).parents[2] / "build" / "recipes" / "demo.yaml"
CONTEXT = "Léon 🚗 Foucault мерил the speed of light in 1862."
BOX = re.compile("[│┃─━|]|[-+]{5}")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*[349][0-7]")
# Of the signs that the command has itself, as a terminal gets one that it cannot show.
SIGN = re.compile(r"\\u2[0-9a-f]{3}")

# How it ends, and what is typed. One after the other, in one directory: what a verb leaves is there
# for the next one. `{url}` is a server, and `{dead}` one that is not there.
WALK: tuple[tuple[int, str], ...] = (
    *((0, f"{path} --help") for path in ALL),
    *((0, f"help {topic}") for topic in ("", *TOPICS)),
    (0, "--version --verbose"),
    (2, "sevre"),
    (2, "--json"),
    (0, "help json ask"),
    (2, "help rezume"),
    (2, "init data.json --source org/name --data data.json"),
    (2, "init other.yaml --source org/name --data absent.json"),
    (2, "build absent.yaml"),
    (2, "build --source org/name"),
    (0, "serve --dry-run --engine local"),
    (2, "serve --port 99999"),
    (1, "serve --repository empty"),
    (2, "serve http-api --url ftp://x"),
    (2, "serve http-api --tracks absent.json"),
    (0, "ask Who? --context CONTEXT --top-k 3 {url}"),
    (0, "ask --input data.json {url}"),
    (0, "ask --input data.json --output answers.csv {url}"),
    (1, "ask --input data.json --output answers.csv {url}"),
    (1, "ask Who? --context CONTEXT {dead}"),
    (2, "ask Who?"),
    (2, "ask --input absent.json"),
    (0, "evaluate --data data.json --version 2"),
    (0, "evaluate --data data.json {url}"),
    (1, "evaluate --data data.json --version 9"),
    (2, "evaluate --data absent.json"),
    (0, "compare 1 2 --data data.json --html page.html"),
    (2, "compare 1 2 --data data.json --html absent/page.html"),
    (2, "compare 1 2"),
    (1, "compare 1 9 --data data.json"),
    (0, "inspect 1 2"),
    (0, "inspect 2 --layers"),
    (1, "inspect 9"),
    (2, "bench --engine nothing"),
    (2, "bench --batch 0"),
    (1, "bench client --data data.json {dead}"),
    (2, "bench client --data absent.json"),
    (1, "bench load --data data.json {dead}"),
    (1, "bench mlperf --data data.json {dead}"),
    (2, "bench mlperf --data data.json --scenario MultiStream"),
    (2, "bench load --data data.json --p99 1s"),
    (0, "bench profile --data data.json --questions 2 --html page.html"),
    (1, "bench profile --data data.json {dead}"),
    (1, "bench profile --data data.json --version 9"),
    (2, "bench profile --data data.json --at-once 0"),
    (1, "bench tune --data data.json --version 9"),
    (2, "bench tune --data data.json --p99 0s"),
    (2, "bench tune --data data.json --write absent/tuned.yaml"),
    (2, "serve --tuned absent.yaml --dry-run"),
    (2, "bench peers absent.yaml"),
    (2, "bench peers {recipe} --peer keras"),
    (1, "bench peers {recipe} --repository empty --data data.json"),
    (2, "bench latency-table table.json --precision INT9"),
    (2, "bench latency-table absent/table.json"),
    (0, "versions"),
    (0, "versions {url}"),
    (1, "versions {dead}"),
    (0, "versions --repository empty"),
    (0, "versions show 2"),
    (1, "versions show 9"),
    (0, "versions diff 1 2"),
    (0, "versions diff 1 2 --all"),
    (0, "versions diff 1 1"),
    (2, "versions verify 2 --verify-key absent.pem"),
    (0, "versions delete --keep 1 --dry-run"),
    (1, "versions delete 9"),
    (0, "switch --status {url}"),
    (0, "switch --to 2 {url}"),
    (0, "switch --back {url}"),
    (1, "switch --to 9 {url}"),
    (2, "switch --split 1=90,2=90"),
    (2, "switch"),
    (0, "publish 2 --to store"),
    (1, "publish 9 --to store"),
    (2, "publish 2 --to nothing://x"),
    (2, "pull nothing://x"),
    (2, "azureml"),
    (0, "azureml submit --dry-run --files {azureml} {workspace}"),
    (2, "azureml submit --files absent"),
    (0, "azureml deploy --version 2 --dry-run --files {azureml} {workspace}"),
    (2, "azureml deploy"),
    (0, "azureml switch --to 2 --dry-run --files {azureml} {workspace}"),
    (2, "azureml switch --split 1=x"),
    (0, "azureml delete --version 1 --dry-run --files {azureml} {workspace}"),
    (2, "azureml delete --version 0"),
)

DRIVER = """
import json, os, sys
from bertqa_cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["bert-qa", *words]
    status = None
    try:
        main.run()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(1, f"\\0{status}\\0".encode())
"""


@dataclass(frozen=True)
class Mode:
    """Where a command is typed: so many columns, or a pipe, and what the environment says."""

    columns: int | None
    variables: dict[str, str]
    encoding: str = "utf-8"

    @property
    def is_plain(self) -> bool:
        """Whether nothing but text may be written."""
        return self.columns is None or self.variables.get("TERM") == "dumb"


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MODES = {
    "80 columns": Mode(80, {}),
    "60 columns": Mode(60, {}),
    "dumb": Mode(80, {"TERM": "dumb"}),
    "latin-1, NO_COLOR": Mode(80, {"PYTHONIOENCODING": "latin-1", "NO_COLOR": "1"}, "latin-1"),
    "ASCII": Mode(60, ASCII, "ascii"),
    "pipe": Mode(None, ASCII, "ascii"),
}
# The narrowest terminal has most of what can go wrong.
USUAL = ("60 columns",)


def walked(mode: Mode, directory: Path, words: list[list[str]]) -> list[tuple[str, str]]:
    """Type commands, one after the other; return how each ended and what it wrote."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "NO_COLOR", "LANG") and not name.startswith((*VARIABLES, "LC_"))
    }
    ours, its = pty.openpty() if mode.columns else os.pipe()
    if mode.columns:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, mode.columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(words)],
        cwd=directory,
        stdin=its if mode.columns else subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        env={**own, "TERM": "xterm-256color", "LANG": "C.UTF-8", **mode.variables},
        start_new_session=True,
    ):
        os.close(its)
        written = b""
        while part := read(ours):
            written += part
    os.close(ours)
    parts = written.decode(mode.encoding).replace("\r\n", "\n").split("\0")
    return list(zip(parts[1::2], parts[::2], strict=False))


def read(descriptor: int) -> bytes:
    """Linux ends the terminal of a process that has gone with an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def fault_of(mode: Mode, typed: list[str], written: str) -> str:
    """What is wrong with how something is shown; empty if nothing is."""
    plain = CODES.sub("", written)
    if mode.is_plain and plain != written:
        return "It has escape codes."
    if "NO_COLOR" in mode.variables and COLOUR.search(written):
        return "It has colours."
    if "Traceback" in plain:
        return "It has a traceback."
    if SIGN.search(plain):
        return "It has a sign that cannot be shown."
    is_help = "--help" in typed or (typed[0] == "help" and typed[-1] in ("help", *TOPICS))
    shown = [line.rpartition("\r")[2] for line in plain.split("\n")]
    held = [line for line in shown if is_help or BOX.search(line)]
    if max(map(len, held), default=0) > (mode.columns or 80):
        return "It is wider than the terminal."
    return "It has a name that is cut short." if is_help and "…" in plain else ""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Two versions, published and served; what they were made from is not in every alphabet."""
    repository = tmp_path / "model_repository"
    with toy_server("local", repository, 1, 2, poll_seconds=0.05) as server:
        for number, precision in ((1, "FP32"), (2, "INT8")):
            write_manifest(
                repository / "bert-qa" / str(number),
                precision=precision,
                source="hf:Léon/модель-with-a-name-that-is-long 🚗",
                scores=Scores("evaluation-sample.json", 200, 65.5, 78.97),
            )
        yield server


def test_the_walk_leaves_no_verb_out() -> None:
    walked = {verb_of(typed.split()) for _, typed in WALK if "--help" not in typed}
    assert walked == set(ALL)


@pytest.mark.parametrize(
    "name",
    [
        *USUAL,
        *(pytest.param(each, marks=pytest.mark.thorough) for each in MODES if each not in USUAL),
    ],
)
def test_a_newcomer_s_walk(name: str, served: Served, tmp_path: Path) -> None:
    mode = MODES[name]
    write_squad(tmp_path / "data.json")
    (tmp_path / "empty").mkdir()
    places = {
        "url": f"--url {served.grpc_url} --metadata-url {served.rest_url}",
        "dead": "--url http://127.0.0.1:9 --timeout 0.1",
        "workspace": "--subscription s --resource-group g --workspace w",
        "azureml": str(AZUREML),
        "recipe": str(RECIPE),
    }
    words = [
        [word.replace("CONTEXT", CONTEXT) for word in typed.format(**places).split()]
        for _, typed in WALK
    ]

    found = walked(mode, tmp_path, words)

    assert len(found) == len(WALK), found[-1:]
    wrong = [
        f"bert-qa {' '.join(typed)}: {fault}\n{written}"
        for (status, _), typed, (ended, written) in zip(WALK, words, found, strict=True)
        if (fault := fault_of(mode, typed, written) or (ended != str(status) and f"ended {ended}"))
    ]
    assert not wrong, "\n".join(wrong)
