"""Eight clients ask again and again, over gRPC and REST; of a real OVMS they ask without pause.

Not one request may fail where the server stays up, and none may be answered wrongly or by a version
that it does not name; once a switch has returned, no version outside the split answers.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial

import pytest

from bertqa_deploy.config_file import DRAIN_SECONDS
from bertqa_deploy.errors import NothingToDoError, RolledBackError
from tests.deploy.config_file.conftest import ONLY_1, Operated, operate
from tests.deploy.conftest import SMOKE
from tests.support.clients import eight_clients
from tests.support.engines import Served, toy_server
from tests.support.load import AWAY, Load, asking
from tests.support.models import write_toy_version

pytestmark = pytest.mark.thorough

# Eight clients without a pause leave no core to the local engine, which is slower.
PAUSES = {"local": 0.05, "ovms": 0.0}
SWITCHES = {"local": 4, "ovms": 10}

Asking = Callable[..., AbstractContextManager[Load]]


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("switching") / "model_repository"
    with toy_server(engine, root, 1, 2, policy=ONLY_1, own_process=True) as server:
        yield server


@pytest.fixture(scope="module")
def asked(server: Served) -> Iterator[Asking]:
    with eight_clients(server.grpc_url, server.rest_url) as clients:
        yield partial(asking, clients, pause=PAUSES[server.engine])


@pytest.fixture
def at_version_1(server: Served) -> Operated:
    operated = operate(server)
    with suppress(NothingToDoError):
        operated.having(retire=True).move({1: 100.0})
    operated.steps.clear()
    return operated


def test_a_new_version_takes_over_and_the_old_one_comes_back(
    at_version_1: Operated, asked: Asking
) -> None:
    switch = at_version_1.having(drain_seconds=DRAIN_SECONDS)
    with asked() as load:
        switched = switch.move({2: 100.0})
        assert (switched.default, switched.served) == (2, [1, 2])
        assert load.observe() == ({2}, {2})

        returned = switch.back()
        assert (returned.default, returned.served, returned.retired) == (1, [1], [2])
        assert load.observe() == ({1}, {1})


def test_a_split_is_followed_by_those_who_follow_it(at_version_1: Operated, asked: Asking) -> None:
    switch = at_version_1.having(drain_seconds=DRAIN_SECONDS)
    with asked() as load:
        switch.move({1: 50.0, 2: 50.0})
        assert load.observe(60) == ({2}, {1, 2})

        switch.having(retire=True).move({2: 100.0})
        assert load.observe() == ({2}, {2})
    assert switch.server.available("bert-qa") == {2}


def test_switches_in_a_row(server: Served, at_version_1: Operated, asked: Asking) -> None:
    with asked() as load:
        for turn in range(SWITCHES[server.engine]):
            version = 2 - turn % 2
            at_version_1.having(retire=True).move({version: 100.0})
            default, _ = load.observe(2)
            assert default == {version}


def test_publishing_changes_nothing_until_the_switch(
    server: Served, at_version_1: Operated, asked: Asking
) -> None:
    root = at_version_1.repository.root
    with asked() as load:
        directory = write_toy_version(root, 3)
        server.reload()
        assert load.observe() == ({1}, {1})
        at_version_1.move({3: 100.0})
        assert load.observe()[0] == {3}
        at_version_1.move({1: 100.0})
        assert load.observe()[0] == {1}
    shutil.rmtree(directory)


def test_a_broken_version_is_never_asked(at_version_1: Operated, asked: Asking) -> None:
    directory = write_toy_version(at_version_1.repository.root, 4)
    (directory / "model.xml").write_text("<net", encoding="utf-8")
    before = at_version_1.repository.config_path.read_text(encoding="utf-8")
    with asked() as load:
        with pytest.raises(RolledBackError, match="Version 4 does not load"):
            at_version_1.move({4: 100.0})
        assert load.observe() == ({1}, {1})
    assert at_version_1.repository.config_path.read_text(encoding="utf-8") == before
    shutil.rmtree(directory)


def test_a_version_that_answers_wrongly_is_never_asked(
    at_version_1: Operated, asked: Asking
) -> None:
    with asked() as load:
        wrong = at_version_1.having(smoke=replace(SMOKE, context="no 1932", answer="no 1"))
        with pytest.raises(RolledBackError, match="where 'no 1' is right"):
            wrong.move({2: 100.0})
        assert load.observe() == ({1}, {1})


@pytest.mark.parametrize("moment", ["on trial", "served", "the split is"])
def test_a_server_may_restart_in_the_middle_of_a_switch(
    server: Served, at_version_1: Operated, asked: Asking, moment: str
) -> None:
    begun, away = threading.Event(), threading.Event()

    def on_step(step: str) -> None:
        if moment in step and not away.is_set():
            begun.set()
            away.wait(60)

    switch = at_version_1.having(drain_seconds=DRAIN_SECONDS, on_step=on_step)
    with asked(may_fail=AWAY) as load, ThreadPoolExecutor(1) as pool:
        switching = pool.submit(switch.move, {2: 100.0})
        assert begun.wait(60)
        server.stop()
        away.set()
        server.start()

        assert switching.result().default == 2
        assert load.observe() == ({2}, {2})
    assert switch.server.available("bert-qa") == {1, 2}


@pytest.mark.parametrize("moment", ["on trial", "served", "the split is"])
def test_a_killed_switch_is_finished_by_the_same_command(
    at_version_1: Operated, asked: Asking, moment: str
) -> None:
    with asked() as load:
        _move_and_die(at_version_1, moment)
        load.observe(4)
        switched = at_version_1.having(retire=True).move({2: 100.0})
        assert switched.served == [2]
        assert load.observe()[0] == {2}
    assert "trial" not in at_version_1.repository.config_path.read_text(encoding="utf-8")
    assert (at_version_1.repository.root / "bert-qa.split").read_text() == "2=100\n"


_DIE = """
import os, signal, sys
from pathlib import Path
from bertqa.artifact import Repository
from bertqa_deploy.config_file import ConfigTarget
from bertqa_deploy.rollout import Rollout
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
def on_step(step):
    if sys.argv[3] in step:
        os.kill(os.getpid(), signal.SIGKILL)
with ConfigTarget(
    Repository(Path(sys.argv[1])),
    Server(sys.argv[2], patience=60),
    smoke=Smoke("When?", "1932", "1932"),
    drain_seconds=0,
    retire=True,
    on_step=on_step,
) as target:
    Rollout(target).move({2: 100.0})
"""


def _move_and_die(served: Operated, moment: str) -> None:
    arguments = [str(served.repository.root), served.rest_url, moment]
    killed = subprocess.run([sys.executable, "-c", _DIE, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
