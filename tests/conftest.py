from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from bertqa.artifact import Repository
from tests.support.kinds import KINDS, is_thorough, kind_of, rank
from tests.support.ports import free_port
from tests.support.processes import end_with_this_process

if TYPE_CHECKING:
    from tests.support.demo import DemoBuild
    from tests.support.stores import Store, Stores


TESTS = Path(__file__).parent
ON_OVMS = ("server", "ovms")
WITH_A_BUILD = 1200
"""Seconds: whichever test is the first waits for the demo, or for NNCF to be compiled."""

pytest_plugins = ["pytester"]


def pytest_configure() -> None:
    """Whatever tests start ends with the run, or with each worker of pytest-xdist."""
    end_with_this_process()


@functools.cache
def _below_tests(path: Path) -> Path:
    return path.relative_to(TESTS) if path.is_relative_to(TESTS) else path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its kind; workers of pytest-xdist begin with those that take longest."""
    ranks = {}
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        marks = [mark.name for mark in item.iter_markers() if mark.name in KINDS]
        path = _below_tests(item.path)
        if not marks:
            marks = [kind_of(path, fixtures)]
            item.add_marker(marks[0])
        if is_thorough(path, fixtures):
            item.add_marker("thorough")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(WITH_A_BUILD))
        ranks[item] = rank(marks[0])
        if item.get_closest_marker("ovms"):
            item.user_properties.append(ON_OVMS)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: -ranks[item])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests ran on a real OVMS, and how many of those that could did not."""
    counts = {
        outcome: sum(
            ON_OVMS in report.user_properties and (report.when == "call" or outcome == "skipped")
            for report in terminalreporter.stats.get(outcome, [])
        )
        for outcome in ("passed", "failed", "skipped")
    }
    if any(counts.values()):
        terminalreporter.write_line(
            f"On a real OVMS: {counts['passed']} passed, {counts['failed']} failed, "
            f"{counts['skipped']} skipped."
        )


@pytest.fixture(name="free_port")
def _free_port() -> int:
    """A port of the loopback interface on which nothing listens."""
    return free_port()


@pytest.fixture(scope="module", params=["local", pytest.param("ovms", marks=pytest.mark.ovms)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: an end-to-end test is written once and holds for all that are there."""
    from bertqa_serve.errors import EngineNotFoundError
    from bertqa_serve.selection import choose_engine

    try:
        return str(choose_engine(request.param).kind)
    except EngineNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run share, for what they make once and for locks."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session")
def demo_build(run_root: Path) -> DemoBuild:
    """The demo's recipe without its training, built for real; to be read, not to be changed.

    It is built once for all workers of pytest-xdist.
    """
    from tests.support.demo import build_demo

    kept = run_root / "demo.pickle"
    with FileLock(run_root / "demo.lock"):
        if not kept.exists():
            built = build_demo(run_root / "demo")
            kept.write_bytes(pickle.dumps(built))
        found: DemoBuild = pickle.loads(kept.read_bytes())
    return found


@pytest.fixture(scope="session")
def demo_repository(demo_build: DemoBuild) -> Repository:
    """The repository of `demo_build`: version 1 in FP32 and version 2 in INT8."""
    return demo_build.repository


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Azurite, an S3 and a Google store on loopback, each started at its first use."""
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
