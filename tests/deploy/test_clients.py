"""The program that asks without pause in a pod, on this machine."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import clients
from tests.support.engines import Served, toy_server
from tests.support.load import CONTEXT, QUESTION, right_answers

PROGRAM = Path(clients.__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with toy_server("local", tmp_path_factory.mktemp("clients"), 1, 2) as server:
        yield server


def printed(server: Served, directory: Path, question: str, count: int) -> list[dict[str, Any]]:
    """Return what the program first prints when its text is all there is, as in a pod."""
    urls = (f"grpc://{server.grpc_url}", server.rest_url)
    command = [sys.executable, "-c", PROGRAM, *urls, question, CONTEXT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory) as program:
        assert program.stdout is not None
        try:
            lines = itertools.islice(program.stdout, count)
            return [record for line in lines for record in clients.records(line)]
        finally:
            program.kill()


def test_every_answer_is_printed_with_its_version(server: Served, tmp_path: Path) -> None:
    right = right_answers()[2]
    answers = printed(server, tmp_path, QUESTION, 40)
    assert len(answers) == 40
    for answer in answers:
        assert (answer["version"], answer["text"]) == (2, right.text)
        assert answer["score"] == pytest.approx(right.score)


def test_a_failure_is_printed_in_the_place_of_an_answer(server: Served, tmp_path: Path) -> None:
    (failure,) = printed(server, tmp_path, "", 1)
    assert failure["error"].startswith("InvalidQuestionError: ")
