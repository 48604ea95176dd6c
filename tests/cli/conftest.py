from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from bertqa.evaluation import time_loop
from bertqa_cli import main
from bertqa_cli.connection import VARIABLES
from bertqa_cli.verbs import bench_client
from tests.support.documents import check_document
from tests.support.engines import Served, toy_server

CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century."
QUESTION = "What is the capital of Normandy?"


@contextmanager
def serving(
    *arguments: str, seconds: float, **variables: str
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[bytes]]]:
    """Run `bert-qa serve` until it says that it can be asked, and end it as a user would.

    What it says is yielded with its process, which has `seconds` to end.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "bertqa_cli.main", "serve", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = b""
        while not printed.rstrip().endswith(b"}"):
            line = process.stdout.readline()
            assert line, process.stderr.read().decode()
            printed += line
        try:
            yield check_document(["serve", *arguments], printed.decode()), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=seconds)
    assert process.returncode == 0


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Type a command and return its exit status and what it wrote.

    With --json that is one document, and as the schema of the verb says.
    """

    for name in [each for each in os.environ if each.startswith(VARIABLES)]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["bert-qa", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capsys.readouterr()
        if "--json" in arguments and "--help" not in arguments:
            check_document(arguments, captured.out)
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return invoke


@pytest.fixture
def short_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `bench client` time a context that is not as long as that of a user."""
    monkeypatch.setattr(bench_client, "time_loop", partial(time_loop, characters=100_000))


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two toy versions on each engine."""
    repository = tmp_path_factory.mktemp("cli") / "model_repository"
    with toy_server(engine, repository, 1, 2) as server:
        yield server
