"""A switch is killed, or fails, at every change of a file that it makes: none is left out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from bertqa.artifact import Split
from bertqa_deploy.errors import NothingToDoError
from tests.deploy.config_file.conftest import ONLY_1, Operated, operate
from tests.deploy.config_file.faults import (
    SCENARIOS,
    Scenario,
    in_child,
    leftovers,
    run_series,
)
from tests.deploy.config_file.instant import TRIAL
from tests.support.clients import eight_clients
from tests.support.engines import Served, toy_server
from tests.support.load import Load, asking


@pytest.fixture(scope="module")
def clean_process() -> Iterator[ProcessPoolExecutor]:
    """A process without threads, which can fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(name, marks=pytest.mark.thorough if name == "a move in steps" else ())
        for name in SCENARIOS
    ],
)
@pytest.mark.parametrize(
    ("fault", "then"),
    [
        ("kill", "the same"),
        pytest.param("kill", "back", marks=pytest.mark.thorough),
        pytest.param("full", "the same", marks=pytest.mark.thorough),
        pytest.param("denied", "the same", marks=pytest.mark.thorough),
    ],
)
def test_a_command_is_resumed_or_undone_after_a_fault_at_any_change(
    clean_process: ProcessPoolExecutor, scenario: str, fault: str, then: str
) -> None:
    changes, wrong = clean_process.submit(run_series, scenario, fault, then).result()
    assert not wrong
    assert changes > 5


@pytest.mark.thorough
@pytest.mark.timeout(900)  # Some fifty switches, on a machine that may be busy.
def test_clients_are_answered_whenever_a_switch_is_killed(
    engine: str, tmp_path: Path, clean_process: ProcessPoolExecutor
) -> None:
    """Here the server and the clients are real; kills that look the same to both are one."""
    root = tmp_path / "model_repository"
    poll_seconds = 0.01
    with (
        toy_server(engine, root, 1, 2, policy=ONLY_1, poll_seconds=poll_seconds) as server,
        eight_clients(server.grpc_url, server.rest_url) as clients,
        asking(clients[1:3], pause=0.02) as load,
    ):
        operated = operate(server).having(retire=True)
        every = 1 if engine == "local" else 4
        for back in (False, True):
            at = 0
            while _survives_a_kill(operated, server, clean_process, at + 1, load, back=back):
                at += every
            assert at > 6
    assert TRIAL not in operated.repository.config_path.read_text(encoding="utf-8")
    assert not list(leftovers(root, may_be_under_way=False))


def _survives_a_kill(
    operated: Operated,
    server: Served,
    clean_process: ProcessPoolExecutor,
    at: int,
    load: Load,
    *,
    back: bool,
) -> bool:
    """Kill a move at a change, and resume or undo it; return False where it met no such change."""
    split = operated.server.split("bert-qa") or {1: 100.0}
    goal: Split = {1: 100.0} if split == {2: 100.0} else {2: 100.0}
    root = operated.repository.root
    command = Scenario(goal, retire=True)
    attempt = clean_process.submit(in_child, root, command, "kill in sight", at, server.rest_url)
    met = attempt.result() is not None
    load.observe(2)
    assert (operated.server.split("bert-qa") or {}).keys() <= operated.server.available("bert-qa")
    try:
        moved = operated.back() if back and met else operated.move(goal)
        reached = moved.split
    except NothingToDoError:
        reached = operated.server.split("bert-qa") or {1: 100.0}
    if not back:
        assert reached == goal
    assert operated.server.available("bert-qa") == set(reached)
    load.observe(2)
    return met
