from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from bertqa.artifact import Repository
from tests.support.ports import free_port
from tests.support.processes import end_with_this_process

if TYPE_CHECKING:
    from tests.support.demo import DemoBuild
    from tests.support.stores import Store, Stores


def pytest_configure() -> None:
    """Whatever tests start ends with the run, or with each worker of pytest-xdist."""
    end_with_this_process()


@pytest.fixture(name="free_port")
def _free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    return free_port()


@pytest.fixture(scope="module", params=["local", pytest.param("ovms", marks=pytest.mark.ovms)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: an end-to-end test is written once and holds for all that are there."""
    from bertqa_serve.errors import EngineNotFoundError
    from bertqa_serve.launcher import choose_engine

    try:
        return str(choose_engine(request.param).kind)
    except EngineNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def demo_build(tmp_path_factory: pytest.TempPathFactory) -> DemoBuild:
    """The demo's recipe without its training, built for real; to be read, not to be changed."""
    from tests.support.demo import build_demo

    return build_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def demo_repository(demo_build: DemoBuild) -> Repository:
    """The repository of `demo_build`: version 1 in FP32 and version 2 in INT8."""
    return demo_build.repository


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Azurite, an S3 and a Google store on loopback, each started when it is first asked for."""
    from tests.support.stores import Stores

    started = Stores()
    yield started
    started.close()


@pytest.fixture(params=["az", "s3", "gs"])
def store(request: pytest.FixtureRequest, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty container of each kind of store, to which the environment leads."""
    made = stores.store(request.param)
    made.use(monkeypatch)
    return made
