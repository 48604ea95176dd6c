"""The blocks of docs/other-clients.md, each run as a program of its own, as a reader runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from bertqa import QAClient, SquadDecoder
from bertqa_cli.demo import CONTEXT, QUESTION
from tests.support.engines import Served

PAGE = Path(__file__).parents[2] / "docs" / "other-clients.md"
SECTIONS = {
    section.partition("\n")[0]: section
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
}
FIRST = "From a question to an answer, with HTTP and numpy"
TRITON = [title for title in SECTIONS if title.startswith("tritonclient")]
RETRIES = "What to repeat, and when"


def blocks(title: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[title], re.DOTALL)


def run(server: Served, code: str, *program: str) -> subprocess.CompletedProcess[str]:
    code = code.replace("localhost:9000", f"localhost:{server.grpc_port}")
    code = code.replace("localhost:8000", f"localhost:{server.rest_port}")
    command = [*(program or (sys.executable, "-c")), code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def output(server: Served, code: str, *program: str) -> list[str]:
    finished = run(server, code, *program)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout.splitlines()


@pytest.fixture(scope="module")
def expected(server: Served) -> str:
    """The answer of this project's own client to the question of the page."""
    with QAClient(**server.address()) as qa:
        return qa.answer(QUESTION, CONTEXT, version=2).text


def test_every_block_is_run_by_a_test() -> None:
    found = re.findall(r"```(\w+)\n", PAGE.read_text(encoding="utf-8"))
    run_here = [FIRST, *TRITON, "ovmsclient", "With bertqa's tokenizer and decoder", RETRIES]
    assert found.count("python") == sum(len(blocks(title)) for title in run_here)
    assert found.count("sh") == 2  # The installation, and the section of curl.
    assert len(found) == found.count("python") + 2


@pytest.mark.parametrize("library", ["httpx", "requests as httpx"])
def test_plain_http(server: Served, expected: str, library: str) -> None:
    code = "".join(blocks(FIRST)).replace("import httpx\n", f"import {library}\n")
    assert output(server, code)[-1] == expected


@pytest.mark.parametrize("title", [*TRITON, "With bertqa's tokenizer and decoder"])
def test_kserve(server: Served, expected: str, title: str) -> None:
    assert output(server, "".join(blocks(FIRST) + blocks(title)))[-2:] == [expected, expected]


def test_ovmsclient(server: Served, expected: str) -> None:
    finished = run(server, "".join(blocks(FIRST) + blocks("ovmsclient")))
    if server.engine == "local":
        assert finished.stdout.splitlines()[-2:] == [expected, expected], finished.stderr
    else:
        error = "ConnectionError: Error occurred during handling the request"
        assert error in " ".join(SECTIONS["ovmsclient"].split())
        assert error in finished.stderr


def test_curl(server: Served) -> None:
    ready, *rest = output(server, blocks("curl", "sh")[0], "bash", "-euc")
    assert ready == "200"
    assert '"tokenizer_json": "..."' in "".join(rest)
    assert '"data"' in "".join(rest)


def test_windows_of_a_long_context(server: Served, tmp_path: Path) -> None:
    """The short decoder chooses as the standard SQuAD post-processing does, over all windows."""
    long = tmp_path / "long.txt"
    long.write_text(PAGE.read_text(encoding="utf-8")[:8000], encoding="utf-8")
    read = f"context = open({str(long)!r}, encoding='utf-8').read()\nwindows, inputs ="
    code = "".join(blocks(FIRST)).replace("windows, inputs =", read)
    code += "print(len(windows), repr(decode(context, windows, outputs)))"
    decoder = SquadDecoder(n_best=400, max_answer_len=15)
    with QAClient(**server.address()) as qa:
        answer = qa.answer(QUESTION, long.read_text("utf-8"), version=2, decoder=decoder)
    count, text = output(server, code)[-1].split(" ", 1)
    assert int(count) > 3
    assert text == repr(answer.text)


def test_patience(server: Served) -> None:
    assert output(server, "".join(blocks(FIRST) + blocks(RETRIES)))[-1] == "64 answers"


class Refusing:
    """A call that is refused some times, and the clock that its repetitions go by."""

    def __init__(self, refusals: int, message: str = "Server Threadpool Exhausted") -> None:
        self.calls = 0
        self.now = 0.0
        self._refusals = refusals
        self._message = message

    def __call__(self) -> str:
        self.calls += 1
        if self.calls > self._refusals:
            return "answer"
        raise InferenceServerException(self._message, "StatusCode.RESOURCE_EXHAUSTED")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patiently(self, seconds: float) -> Any:
        """Run the page's function on this clock."""
        names: dict[str, Any] = {}
        exec(blocks(RETRIES)[0].partition("\n\n\ntensors =")[0], names)
        names["time"] = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        return names["patiently"](self, seconds)


def test_patience_outlasts_refusals() -> None:
    call = Refusing(refusals=6)
    assert call.patiently(30.0) == "answer"
    assert call.calls == 7


def test_patience_ends() -> None:
    call = Refusing(refusals=1_000)
    with pytest.raises(InferenceServerException):
        call.patiently(30.0)
    assert 20 < call.now < 31


def test_patience_is_not_for_what_stays() -> None:
    call = Refusing(1, "CLIENT: Received message larger than max (900 vs. 100)")
    with pytest.raises(InferenceServerException):
        call.patiently(30.0)
    assert call.calls == 1
