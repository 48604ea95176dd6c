from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engines import Served, toy_server
from tests.support.twins import Twins


@pytest.fixture(params=["sync", "async"])
def open_client(request: pytest.FixtureRequest) -> Iterator[Twins]:
    """Opens clients of either kind: a test that takes it runs for both twins."""
    twins = Twins(request.param)
    yield twins
    twins.close()


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The toy versions 1 and 2 on each engine, for tests that leave them as they are."""
    with toy_server(engine, tmp_path_factory.mktemp("repository"), 1, 2) as server:
        yield server


@pytest.fixture(scope="module")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same on the local engine, for tests of what comes between a client and any server."""
    with toy_server("local", tmp_path_factory.mktemp("repository"), 1, 2) as server:
        yield server


@pytest.fixture
def qa(open_client: Twins, server: Served) -> Any:
    """A client of either kind, of each engine; version 2 is the default."""
    return open_client(**server.address(), timeout=250)
