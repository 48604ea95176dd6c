"""A server for the tests that run the chart's proxy before one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bertqa_serve.engine.server import LocalServer
from tests.support.models import write_config, write_toy_version


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    repository = tmp_path_factory.mktemp("repository")
    write_toy_version(repository, 1)
    with LocalServer(config_path=write_config(repository)) as server:
        yield server
