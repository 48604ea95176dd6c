from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa_cli import main
from bertqa_serve.engine.server import LocalServer
from tests.support.models import write_config, write_toy_version

CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century."
QUESTION = "What is the capital of Normandy?"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Invoke = Callable[..., Result]


@dataclass(frozen=True)
class Served:
    repository: Path
    grpc_url: str
    rest_url: str


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Type a command: give its exit status and what it wrote."""

    def invoke(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["bert-qa", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return invoke


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two toy versions on the local engine."""
    repository = tmp_path_factory.mktemp("cli") / "model_repository"
    for version in (1, 2):
        write_toy_version(repository, version)
    with LocalServer(config_path=write_config(repository)) as server:
        yield Served(
            repository, f"127.0.0.1:{server.grpc_port}", f"http://127.0.0.1:{server.rest_port}"
        )
