from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bertqa.repository import Repository

if TYPE_CHECKING:
    from tests.support.demo import DemoBuild


@pytest.fixture
def free_port() -> int:
    """A port of the loopback interface on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def demo_build(tmp_path_factory: pytest.TempPathFactory) -> DemoBuild:
    """The demo's recipe without its training, built for real; to be read, not to be changed."""
    from tests.support.demo import build_demo

    return build_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def demo_repository(demo_build: DemoBuild) -> Repository:
    """The repository of `demo_build`: version 1 in FP32 and version 2 in INT8."""
    return demo_build.repository
