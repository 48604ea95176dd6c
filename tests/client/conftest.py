from __future__ import annotations

from collections.abc import Iterator

import pytest

from bertqa_serve.engine.server import LocalServer
from tests.support.models import write_config, write_toy_version
from tests.support.twins import Twins


@pytest.fixture(params=["sync", "async"])
def open_client(request: pytest.FixtureRequest) -> Iterator[Twins]:
    """Opens clients of either kind: a test that takes it runs for both twins."""
    twins = Twins(request.param)
    yield twins
    twins.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """The local engine with the toy versions 1 and 2, for tests that leave it as it is."""
    repository = tmp_path_factory.mktemp("repository")
    write_toy_version(repository, 1)
    write_toy_version(repository, 2)
    with LocalServer(config_path=write_config(repository), tensorflow_serving=True) as running:
        yield running
