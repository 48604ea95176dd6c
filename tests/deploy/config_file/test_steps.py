"""What is counted while a rollout is held, and a server that restarts at any of its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.artifact import WORK_FOLDER
from bertqa_deploy.errors import MetricMissingError
from bertqa_deploy.rollout import Plan
from tests.deploy.config_file.conftest import ONLY_1, operate
from tests.support.engines import toy_server

TO_2 = {2: 100.0}


def test_requests_are_counted_by_version(engine: str, tmp_path: Path) -> None:
    with toy_server(engine, tmp_path / "model_repository", 1, own_process=True) as server:
        operated = operate(server)
        target = operated.target()
        with QAClient(**server.address()) as client:
            client.answer("When?", "It was in 1932.")
        (counts,) = target.observe(1).values()
    assert (counts.requests, counts.failed) == (1, 0)
    assert counts.p95_ms is not None


def test_a_server_that_does_not_count_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    with toy_server("local", repository, 1, 2, policy=ONLY_1, counts=False) as server:
        served = operate(server)
        before = served.repository.config_path.read_text(encoding="utf-8")
        with pytest.raises(MetricMissingError, match="--metrics_enable"):
            served.move(TO_2, Plan(pause_seconds=60))
        assert served.repository.config_path.read_text(encoding="utf-8") == before
        assert not (served.repository.root / WORK_FOLDER).exists()


@pytest.mark.thorough
def test_a_server_may_restart_at_any_step(tmp_path: Path) -> None:
    root = tmp_path / "model_repository"
    at = 0
    with toy_server("local", root, 1, 2, policy=ONLY_1, poll_seconds=0.01) as server:
        served = operate(server).having(retire=True)
        while True:
            met: list[str] = []

            def on_step(step: str, met: list[str] = met, last: int = at) -> None:
                met.append(step)
                if len(met) == last + 1:
                    server.stop()
                    server.start()

            goal = {2 - at % 2: 100.0}
            moved = served.having(on_step=on_step).move(goal, Plan(steps=(50, 100)))
            assert moved.split == served.server.split("bert-qa") == goal
            assert served.server.available("bert-qa") == set(goal)
            if len(met) <= at:
                break
            at += 1
    assert at > 5
