"""A candidate that is deleted, or that takes the server with it, while it is held at a step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.errors import RepositoryError
from bertqa_deploy.errors import InconclusiveError, RolledBackError
from bertqa_deploy.rollout import Moved, Plan, Rollout, Verdict
from tests.deploy.config_file.conftest import ONLY_1, Operated, operate
from tests.support.engines import toy_server

TO_2 = {2: 100.0}
HELD = Plan(steps=(50, 100), pause_seconds=30.0, interval_seconds=10.0)

Serve = Callable[..., Operated]


def held(served: Operated, meanwhile: Callable[[], None]) -> Moved:
    """Move the traffic to version 2, by a clock that only sleep moves; the first does something."""
    time = 0.0
    waiting = [meanwhile]

    def sleep(seconds: float) -> None:
        nonlocal time
        time += seconds
        if seconds and waiting:
            waiting.pop()()

    with served.target() as target:
        return Rollout(target, HELD, sleep=sleep, now=lambda: time).move(TO_2)


def test_one_that_is_deleted_loses_its_traffic(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    directory = served.repository.version_dir(2)

    with pytest.raises(RolledBackError, match=r"to 1=100: Version 2 of bert-qa is not in .* any"):
        held(served, lambda: shutil.rmtree(directory))

    assert served.server.split("bert-qa") == {1: 100}
    assert served.server.available("bert-qa") == {1}
    with QAClient(served.rest_url) as client:
        assert client.answer("When?", "It was in 1932.").model_version == 1


@pytest.mark.thorough
def test_one_that_is_deleted_once_it_was_held_can_be_left(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    with pytest.raises(InconclusiveError):
        held(served, lambda: None)
    shutil.rmtree(served.repository.version_dir(2))

    with pytest.raises(RepositoryError, match=r"no version 2 .* --back returns to 1=100"):
        served.move(TO_2)
    assert served.back().split == {1: 100}
    assert served.server.available("bert-qa") == {1}


def test_one_server_that_restarts_while_a_candidate_is_held_is_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "model_repository"
    with toy_server("local", root, 1, 2, policy=ONLY_1, poll_seconds=0.01) as server:

        def restart() -> None:
            server.stop()
            server.start()

        with pytest.raises(
            RolledBackError, match=r"to 1=100: Its server restarted while"
        ) as caught:
            held(operate(server), restart)

        assert operate(server).server.split("bert-qa") == {1: 100}
    assert caught.value.moved is not None
    assert [each.verdict for each in caught.value.moved.held] == [Verdict.FAILED]
