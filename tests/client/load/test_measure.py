"""Load on servers that take a known time: real processes ask over real HTTP and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bertqa.errors import BertQAError, ServerUnreachableError
from bertqa.load import LoadTest, Objective, Shape, Stage, System, Target, compare_systems
from bertqa.load._early_stopping import questions_needed
from tests.client.load.test_stage import stage as stage_of
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


class Simulated:
    """Stages of a server that answers at most 100 in a second, without any time that passes.

    Args:
        system: Whose stages they are.
        share: Which share of the questions takes longer than 100 ms, by rate and turn.
    """

    def __init__(self, system: System, share: Callable[[float, int], float]) -> None:
        self._share = share
        self.most = 100.0
        self.errors: dict[str, int] = {}
        self.lasted: dict[float, list[float]] = {}
        self.turns: dict[float, list[int]] = {}
        self._system = system

    def stage(self, shape: Shape, seconds: float | None = None, turn: int = 0) -> Stage:
        if shape.rate is None:
            found = stage_of(10.0, shape=shape)
            return replace(found, errors={}, asked=1, questions_per_second=self.most)
        lasted = seconds or self._system._test.seconds
        self.lasted.setdefault(shape.rate, []).append(lasted)
        self.turns.setdefault(shape.rate, []).append(turn)
        asked = round(shape.rate * lasted)
        slow = round(asked * self._share(shape.rate, turn))
        found = stage_of(*[900.0] * slow, *[10.0] * (asked - slow), shape=shape)
        return replace(found, errors=self.errors, asked=asked)


@pytest.fixture
def system() -> System:
    return System(Target({}), LoadTest(PAIRS, seconds=10.0))


@pytest.fixture
def simulated(system: System, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    simulated = Simulated(system, lambda rate, _: 0.0 if rate <= 60 else 0.1)
    monkeypatch.setattr(system, "stage", simulated.stage)
    return simulated


LIMIT = Objective(milliseconds=100.0)


def test_the_rate_up_to_which_nothing_is_slow_is_found(
    system: System, simulated: Simulated
) -> None:
    found = system.find_rate(LIMIT)
    assert 0.95 * 60 <= found.rate <= 60
    assert found.over == 0
    assert found.asked >= 459
    assert "99% sure" in str(found)
    assert len(found.stages) == 1 + sum(len(each) for each in simulated.lasted.values())


def test_questions_follow_until_it_is_sure(system: System, simulated: Simulated) -> None:
    """At 0.3 % no 10 s are enough to be sure, at 0.8 % no 2,010 questions are."""
    simulated._share = lambda rate, _: 0.003 if rate <= 60 else 0.008
    found = system.find_rate(LIMIT)
    assert 0.95 * 60 <= found.rate <= 60
    assert len(simulated.lasted[found.rate]) > 1
    assert questions_needed(found.over, 99.0) <= found.asked < 2_010
    for rate, lasted in simulated.lasted.items():
        assert sum(lasted) <= 10 * 10.0
        if rate > 60:  # Judged twice.
            assert 2_010 * 0.5 < sum(lasted) * rate / 2 < 2_010


def test_each_time_questions_come_at_other_times(system: System, simulated: Simulated) -> None:
    simulated._share = lambda *_: 0.003
    system.find_rate(LIMIT)
    assert all(each == list(range(len(each))) for each in simulated.turns.values())


def test_at_a_low_rate_questions_come_for_long_enough(system: System, simulated: Simulated) -> None:
    """At 14 per second, 10 s are not enough to be sure, and 33 s are."""
    simulated.most = 20.0
    system.find_rate(LIMIT)
    first, second = simulated.lasted[14.0]
    assert first == 10.0
    assert 14.0 * (first + second) >= 459
    assert second < 30.0


def test_one_bad_stage_does_not_lower_the_rate_that_is_found(
    system: System, simulated: Simulated
) -> None:
    simulated._share = lambda _, turn: 0.1 if turn == 0 else 0.0
    found = system.find_rate(LIMIT)
    assert found.rate >= 95.0
    assert all(len(turns) == 2 for turns in simulated.turns.values())


@pytest.mark.parametrize(("share", "errors"), [(0.9, {}), (0.0, {"ServerOverloadedError": 1})])
def test_a_rate_that_is_missed_by_far_is_not_tried_again(
    system: System, simulated: Simulated, share: float, errors: dict[str, int]
) -> None:
    simulated._share = lambda *_: share
    simulated.errors = errors
    found = system.find_rate(LIMIT)
    assert found.rate == 0
    assert found.least == 5.05
    assert f"At no rate from {found.least:g} per second" in str(found)
    assert str(found).endswith("Make it longer.")
    assert all(len(turns) == 1 for turns in simulated.turns.values())


def test_a_longer_test_is_advised_only_where_it_tries_lower_rates(
    system: System, simulated: Simulated
) -> None:
    simulated._share = lambda *_: 0.9
    simulated.most = 1000.0
    found = system.find_rate(LIMIT)
    assert (found.rate, found.least) == (0, 50.0)
    assert str(found).endswith("or less.")


def test_rates_at_which_too_few_questions_come_are_not_tried(
    system: System, simulated: Simulated
) -> None:
    simulated.most = 4.0
    found = system.find_rate(LIMIT)
    assert (found.rate, len(found.stages)) == (0, 1)
    assert "459 questions, and the server answers 4 per second at most" in str(found)


@pytest.mark.thorough
def test_the_highest_rate_within_an_objective_is_found() -> None:
    with serving(Api(seconds=0.02)) as target, System.opened(target, SHORT) as opened:
        found = opened.find_rate(Objective(50.0, 500.0))
    assert 10 < found.rate <= 50
    assert len(found.stages) > 2
    with serving(Api(seconds=0.1)) as target, System.opened(target, SHORT) as opened:
        assert opened.find_rate(Objective(50.0, 50.0)).rate == 0


def test_questions_are_drawn_at_random_anew_with_each_turn() -> None:
    api = Api()
    pairs = [(f"question {number}", "text") for number in range(1000)]
    test = LoadTest(pairs, seconds=0.5, warm_up=0.0, processes=1)
    with serving(api) as target, System.opened(target, test) as opened:
        asked = []
        for turn in (0, 0, 1):
            api.questions.clear()
            opened.stage(Shape(rate=100.0), turn=turn)
            asked.append(set(api.questions))
    assert asked[0] == asked[1] != asked[2]
    assert max(int(each.split()[1]) for each in asked[0]) > 500


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


def test_processes_without_a_question_limit_nothing_and_end_no_stage() -> None:
    test = LoadTest(PAIRS, seconds=0.3, warm_up=0.0, processes=2)
    with serving(Api()) as target, System.opened(target, test) as system:
        none = system.stage(Shape(rate=0.001))
        one = system.stage(Shape(at_once=1))
        both = system.stage(Shape(at_once=2))
    assert (none.asked, none.is_limited_by_client) == (0, False)
    assert (one.processes, both.processes) == (1, 2)


@pytest.mark.parametrize(("at_once", "cores", "processes"), [(1, 4, [1]), (3, 8, [1, 2, 3])])
def test_no_more_processes_than_questions_at_once_are_tried(
    monkeypatch: pytest.MonkeyPatch, at_once: int, cores: int, processes: list[int]
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(Stage, "is_limited_by_client", True)
    tried: list[int] = []
    test = LoadTest(PAIRS, seconds=0.1, warm_up=0.0)
    with serving(Api()) as target, System.opened(target, test) as system:
        run = system._run

        def counted(shape: Shape, seconds: float, turn: int) -> Stage:
            stage = run(shape, seconds, turn)
            tried.append(stage.processes)
            return stage

        monkeypatch.setattr(system, "_run", counted)
        system.stage(Shape(at_once=at_once))
    assert tried == processes


def test_a_server_that_ends_meanwhile_is_a_kind_of_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks it again at once takes a core, and no further process would get an answer."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    test = LoadTest(PAIRS, seconds=0.5, warm_up=0.0)
    with ExitStack() as server:
        target = server.enter_context(serving(Api()))
        with System.opened(target, test) as system:
            server.close()
            found = system.stage(Shape(at_once=4))
    assert (found.answered, set(found.errors)) == (0, {"ConnectError"})


def test_answers_a_second_are_those_of_the_time_in_which_all_were_asked() -> None:
    """Of four that wait 0.5 s each for their turn, the last ones come after the end."""
    test = LoadTest(PAIRS, seconds=1.0, warm_up=1.0, processes=1)
    with serving(Api(seconds=0.125)) as target, System.opened(target, test) as system:
        found = system.stage(Shape(at_once=4))
    assert found.questions_per_second == pytest.approx(1 / 0.125, rel=0.15)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("localhost:9", "has to begin with http:// or https://"),
        ("http://[::bad", "bad"),
        (f"http://{LOOPBACK}:1", "No HTTP API answers at .*ConnectError"),
    ],
)
def test_an_address_without_an_http_api_is_named(url: str, complaint: str) -> None:
    target = Target({"url": url, "timeout": 1.0}, is_http_api=True)
    with pytest.raises(BertQAError, match=complaint), System.opened(target, SHORT):
        pass


def test_what_answers_with_a_page_is_refused_as_an_http_api() -> None:
    async def page(_: Request) -> Response:
        return Response("<h1>Welcome</h1>")

    port = free_port()
    target = Target({"url": f"http://{LOOPBACK}:{port}", "timeout": 30.0}, is_http_api=True)
    routes = [Route("/v1/answers", page, methods=["POST"])]
    with (
        serving_application(Starlette(routes=routes), port),
        pytest.raises(BertQAError, match=r"no answers\. <h1>Welcome"),
        System.opened(target, SHORT),
    ):
        pass


def test_an_address_may_end_with_a_slash() -> None:
    with serving(Api()) as target:
        slashed = Target({**target.arguments, "url": f"{target.address}/"}, is_http_api=True)
        with System.opened(slashed, SHORT):
            pass


def _no_token() -> str:
    raise ValueError("the vault is shut")


def test_what_a_token_raises_is_said() -> None:
    with (
        serving(Api(), token=_no_token) as target,
        pytest.raises(BertQAError, match="the vault is shut"),
        System.opened(target, SHORT),
    ):
        pass
