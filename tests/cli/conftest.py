from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from bertqa_cli import main
from tests.support.engines import ENGINES, Served, engine_on
from tests.support.models import write_config, write_toy_version

CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century."
QUESTION = "What is the capital of Normandy?"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Invoke = Callable[..., Result]


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


@pytest.fixture(scope="session", params=ENGINES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Two toy versions on every engine that there is."""
    repository = tmp_path_factory.mktemp("cli") / "model_repository"
    for version in (1, 2):
        write_toy_version(repository, version)
    write_config(repository)
    with engine_on(request.param, repository) as running:
        yield running
