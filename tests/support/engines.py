"""The engines that end-to-end tests run against: the local one, and a real OVMS if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa_serve.engine import LocalServer
from bertqa_serve.errors import EngineNotFoundError
from bertqa_serve.launcher import ServeOptions, choose_engine, running
from tests.support.ports import free_port

ENGINES = ["local", pytest.param("ovms", marks=pytest.mark.ovms)]
"""The parameters of a fixture that serves with `engine_on`."""


@dataclass(frozen=True)
class Served:
    repository: Path
    grpc_url: str
    rest_url: str


@contextmanager
def engine_on(kind: str, repository: Path) -> Iterator[Served]:
    """Serve a repository that has a `config.json`; skips the test where there is no such engine."""
    if kind == "local":
        with LocalServer(config_path=repository / "config.json") as server:
            yield _served(repository, server.grpc_port, server.rest_port or 0)
        return
    try:
        choose_engine(kind)
    except EngineNotFoundError as error:
        pytest.skip(str(error))
    options = ServeOptions(
        repository, engine=kind, port=free_port(), rest_port=free_port(), warm_up=False
    )
    with running(options):
        yield _served(repository, options.port, options.rest_port)


def _served(repository: Path, grpc_port: int, rest_port: int) -> Served:
    return Served(repository, f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{rest_port}")
