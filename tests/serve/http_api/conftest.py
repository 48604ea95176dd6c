from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.engines import Served, toy_server
from tests.support.http_api import options_for, serving


@pytest.fixture(scope="module")
def served(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Versions 1 and 2 of a toy model on each engine that is there."""
    repository: Path = tmp_path_factory.mktemp("served")
    with toy_server(engine, repository, 1, 2) as server:
        yield server


@pytest.fixture(scope="module")
def api(served: Served) -> Iterator[httpx.Client]:
    """A client of the HTTP API in front of them."""
    with serving(options_for(served)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client
