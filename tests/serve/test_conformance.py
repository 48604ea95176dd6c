"""Servers answer as OVMS was seen to answer, but for what is listed of each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from bertqa_serve.selection import choose_engine
from tests.support.servers import real_server
from tools.replay import Replay, deviations, parts, replay, scenarios

AT_LEAST = 0.9
AT_ONCE = 6  # Mostly they wait.
LONGEST = "shutdown"
NOT_ON_OVMS = "tfs"  # Of the last release that had the API.

pytestmark = pytest.mark.thorough

Parts = dict[str, list[Future[Replay]]]


@pytest.fixture(scope="module")
def played(engine: str) -> Iterator[Parts]:
    start = real_server([str(choose_engine(engine).program)]) if engine == "ovms" else None
    names = sorted(scenarios(), key=lambda name: (name != LONGEST, name))
    if engine == "ovms":
        names.remove(NOT_ON_OVMS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: [pool.submit(replay, name, steps, start) for steps in parts(name)]
            for name in names
        }


@pytest.mark.parametrize("scenario", scenarios())
def test_only_listed_steps_deviate(scenario: str, engine: str, played: Parts) -> None:
    if scenario not in played:
        pytest.skip("OVMS speaks the TensorFlow Serving API up to 2026.2 only")
    differences = [one for part in played[scenario] for one in part.result().differences]
    listed = {d.step: d for d in deviations(engine) if d.scenario == scenario}
    unlisted = [difference for difference in differences if difference.step not in listed]
    assert not unlisted, "\n".join(map(str, unlisted))
    different = {difference.step for difference in differences}
    stale = [d.step for d in listed.values() if not d.not_always and d.step not in different]
    assert not stale, f"listed, but the server agrees with what was recorded: {stale}"


def test_nearly_all_steps_agree(played: Parts) -> None:
    results = [part.result() for found in played.values() for part in found]
    compared = sum(result.compared for result in results)
    agreed = compared - sum(len(result.differences) for result in results)
    assert agreed >= AT_LEAST * compared
