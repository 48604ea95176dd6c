"""Load on servers that take a known time: real processes ask over real HTTP and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bertqa.errors import BertQAError, ServerUnreachableError
from bertqa.load import LoadTest, Objective, Shape, System, Target, compare_systems
from tests.support.engines import Served
from tests.support.ports import free_port
from tests.support.web import LOOPBACK, serving_application

PAIRS = [("When was it opened?", "The bridge was opened in 1932."), ("Who?", "It was Anna Berg.")]
SHORT = LoadTest(PAIRS, seconds=1.0, warm_up=0.2, processes=1)


class Api:
    """Answers one question at a time, each after so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked = 0
        self.fails_each = 0
        self.tokens: set[str | None] = set()
        self.versions: set[int | None] = set()
        self.questions: list[str] = []
        self._one = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        self.tokens.add(request.headers.get("authorization"))
        body = await request.json()
        self.versions.add(body.get("version"))
        self.questions.append(body["question"])
        async with self._one:
            await asyncio.sleep(self.seconds)
        self.asked += 1
        if self.fails_each and not self.asked % self.fails_each:
            return JSONResponse({"error": "busy"}, 503)
        return JSONResponse({"answers": []})


@contextmanager
def serving(api: Api, **arguments: object) -> Iterator[Target]:
    port = free_port()
    routes = [Route("/v1/answers", api.answer, methods=["POST"])]
    given = {"url": f"http://{LOOPBACK}:{port}", "timeout": 30.0, **arguments}
    with serving_application(Starlette(routes=routes), port):
        yield Target(given, is_http_api=True)


def arrivals(rate: float, seconds: float, warm_up: float) -> int:
    """How many questions of the first process come after the warm-up."""
    random, at, count = np.random.default_rng(0), 0.0, 0
    while (at := at + random.exponential(1 / rate)) < warm_up + seconds:
        count += at >= warm_up
    return count


def test_questions_at_a_rate_come_at_random_times_that_the_seed_decides() -> None:
    with serving(Api()) as target, System.opened(target, SHORT) as system:
        found = system.stage(Shape(rate=50.0))
        again = system.stage(Shape(rate=50.0))
    assert found.asked == again.asked == arrivals(50.0, 1.0, 0.2)
    assert not found.errors
    assert found.answered == found.asked


def test_a_server_that_falls_behind_cannot_hide_its_queue() -> None:
    """At twice what it can, the last question waits about as long as the stage takes."""
    with serving(Api(seconds=0.05)) as target, System.opened(target, SHORT) as system:
        at_rate = system.stage(Shape(rate=40.0))
        at_once = system.stage(Shape(at_once=1))
    assert (at_once.quantile_ms(99) or 0) < 500 < (at_rate.quantile_ms(99) or 0)
    assert at_rate.questions_per_second <= 1 / 0.05


def test_so_many_questions_are_on_their_way_at_once() -> None:
    with serving(Api(seconds=0.02)) as target, System.opened(target, SHORT) as system:
        found = system.stage(Shape(at_once=4))
    assert (found.quantile_ms(50) or 0) >= 4 * 20 - 5
    assert found.questions_per_second <= 1 / 0.02


def test_questions_that_are_not_answered_are_counted_by_kind() -> None:
    api = Api()
    api.fails_each = 2
    with serving(api) as target, System.opened(target, SHORT) as system:
        found = system.stage(Shape(at_once=2))
    (kind,) = found.errors
    assert kind == "HTTP 503"
    assert found.errors[kind] == pytest.approx(found.asked / 2, abs=1)
    assert found.answered == found.asked - found.errors[kind]


def test_token_and_version_go_with_each_question() -> None:
    api = Api()
    with serving(api, token="secret") as target:
        wanted = Target(target.arguments, version=2, is_http_api=True)
        with System.opened(wanted, SHORT):
            pass
    assert (api.tokens, api.versions) == ({"Bearer secret"}, {2})
    assert "secret" not in repr(wanted)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_real_server_is_asked_by_several_processes(local_server: Served, processes: int) -> None:
    test = LoadTest(PAIRS, seconds=1.0, warm_up=0.2, processes=processes)
    target = Target({**local_server.address(), "timeout": 60.0}, version=1)
    with System.opened(target, test) as system:
        found = system.stage(Shape(at_once=4))
    assert found.processes == processes
    assert found.answered
    assert not found.errors
    assert found.server_cores is not None
    assert (found.server_bytes or 0) > 2**20


def test_a_server_that_is_not_there_is_an_error_before_any_stage() -> None:
    target = Target({"url": f"http://{LOOPBACK}:{free_port()}", "timeout": 1.0})
    with pytest.raises(ServerUnreachableError), System.opened(target, SHORT):
        pass


@pytest.mark.thorough
def test_the_highest_rate_within_an_objective_is_found() -> None:
    with serving(Api(seconds=0.02)) as target, System.opened(target, SHORT) as system:
        rate, stages = system.find_rate(Objective(milliseconds=500.0))
    assert 10 < rate <= 50
    assert len(stages) > 2
    with serving(Api(seconds=0.1)) as target, System.opened(target, SHORT) as system:
        assert system.find_rate(Objective(milliseconds=50.0))[0] == 0


@pytest.mark.thorough
def test_two_systems_are_compared_in_turn() -> None:
    with (
        serving(Api(seconds=0.02)) as slow,
        serving(Api(seconds=0.005)) as fast,
        System.opened(slow, SHORT) as first,
        System.opened(fast, SHORT) as second,
    ):
        found = compare_systems(first, second, Shape(at_once=2), rounds=3)
    assert len(found.rounds) == 3
    assert 1 < found.ratio.low <= found.ratio.estimate <= found.ratio.high
    assert found.figure == "questions per second"


def test_a_system_without_an_answer_is_not_compared() -> None:
    api = Api()
    with (
        serving(api) as target,
        System.opened(target, SHORT) as first,
        System.opened(target, SHORT) as second,
    ):
        api.fails_each = 1
        with pytest.raises(BertQAError, match="no question was answered"):
            compare_systems(first, second, Shape(at_once=2), rounds=2)
