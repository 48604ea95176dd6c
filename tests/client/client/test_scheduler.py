from __future__ import annotations

import pytest

from bertqa.client import ModelRegistry, ModelSpec
from bertqa.client._batcher import Batcher
from bertqa.client._effects import FetchMetadata, Request, RunInference, Sleep
from bertqa.client._options import Settings
from bertqa.client._question import Question
from bertqa.client._refusals import Refusals, Response
from bertqa.client._scheduler import Scheduler
from bertqa.client._sync.effects import execute
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ModelNotReadyError,
    ServerOverloadedError,
    ServerUnreachableError,
)
from bertqa.qa import no_pace
from bertqa.transport import InferResult
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

CONTEXT = "The Normans gave their name to Normandy. "


def question(length: int = 1) -> Question:
    return Question("Who?", CONTEXT * length, 1, Settings.of({}, 60.0))


def scheduler_of(batcher: Batcher, *, retry: bool = True, timeout: float = 60.0) -> Scheduler:
    return Scheduler(batcher, Refusals(timeout, retry=retry))


def respond(request: Request, transport: InProcessTransport) -> Response:
    try:
        result = execute(transport, request, 60.0)
        if isinstance(result, InferResult):
            return result
        assert isinstance(request, FetchMetadata)
        return request.learn(result)
    except BertQAError as error:
        return error


def drain(scheduler: Scheduler) -> list[Request]:
    """Take all requests that there are, after the work on long texts."""
    compute(scheduler)
    found = []
    while scheduler.has_request(last=True):
        request = scheduler.next_request(last=True)
        if request is not None:
            found.append(request)
    return found


def compute(scheduler: Scheduler) -> None:
    """Do all the work on long texts that there is."""
    while (computation := scheduler.next_computation()) is not None:
        try:
            result = computation.work(no_pace)
        except BertQAError as error:
            result = error
        scheduler.computed(computation, result)


def drain_pauses(scheduler: Scheduler) -> list[Sleep]:
    """Take all pauses that there are."""
    found = []
    while (pause := scheduler.next_pause()) is not None:
        found.append(pause)
    return found


def start(
    scheduler: Scheduler, added: Question, registry: ModelRegistry, version: int | None
) -> None:
    scheduler.add(added, added.flow(registry, version, fall_back=False))


@pytest.fixture
def registry() -> ModelRegistry:
    known = ModelRegistry()
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    for version in (None, 1, 2):
        known.learn(version, transport.metadata(version=version, timeout=1))
    return known


def test_the_metadata_of_a_version_is_fetched_once_for_all_questions() -> None:
    scheduler, registry = scheduler_of(Batcher()), ModelRegistry()
    for _ in range(5):
        start(scheduler, question(), registry, None)
    (fetch,) = drain(scheduler)
    assert isinstance(fetch, FetchMetadata)
    scheduler.receive(fetch, respond(fetch, InProcessTransport()))
    (batch,) = drain(scheduler)
    assert isinstance(batch, RunInference)
    assert len(batch.windows) == 5


def test_outcomes_come_in_order_whatever_order_the_responses_have(registry: ModelRegistry) -> None:
    scheduler, transport = scheduler_of(Batcher(token_budget=64)), InProcessTransport()
    added = [question(1 + number % 5) for number in range(20)]
    for each in added:
        start(scheduler, each, registry, 1)
    effects = drain(scheduler)
    seen: list[Question] = []
    for effect in reversed(effects):
        assert not seen or effect is not effects[-1]
        scheduler.receive(effect, respond(effect, transport))
        seen += [answered for answered, _ in scheduler.ready()]
    assert [id(each) for each in seen] == [id(each) for each in added]
    assert scheduler.is_empty


def test_a_failed_batch_holds_up_its_own_questions_alone(registry: ModelRegistry) -> None:
    scheduler, transport = scheduler_of(Batcher(token_budget=64)), InProcessTransport()
    for _ in range(6):
        start(scheduler, question(2), registry, 1)
    *others, last = drain(scheduler)
    assert isinstance(last, RunInference)
    for effect in others:
        scheduler.receive(effect, respond(effect, transport))
    scheduler.receive(last, ServerUnreachableError("It is gone."))
    assert len(list(scheduler.ready())) == 6 - len(last.windows)
    assert not drain(scheduler)
    assert len(drain_pauses(scheduler)) == len(last.windows)


def test_a_question_whose_batches_all_fail_learns_of_it_once(registry: ModelRegistry) -> None:
    scheduler, transport = scheduler_of(Batcher(token_budget=1024)), InProcessTransport()
    start(scheduler, question(300), registry, 1)
    batches = drain(scheduler)
    assert max(len(each.windows) for each in batches if isinstance(each, RunInference)) > 1
    assert len(batches) > 1
    for batch in batches:
        scheduler.receive(batch, ModelNotReadyError("It is loading."))
    assert not drain(scheduler)
    (pause,) = drain_pauses(scheduler)
    scheduler.wake(pause)
    for batch in drain(scheduler):
        scheduler.receive(batch, respond(batch, transport))
    compute(scheduler)
    ((_, outcome),) = scheduler.ready()
    assert isinstance(outcome, list)
    assert scheduler._under_way == 0


def test_more_is_wanted_until_enough_waits(registry: ModelRegistry) -> None:
    scheduler = scheduler_of(Batcher(look_ahead=8))
    added = 0
    while scheduler.wants_more:
        start(scheduler, question(), registry, 1)
        added += 1
    assert added == 8
    assert scheduler.next_request(last=False) is not None
    assert scheduler.wants_more


FULL = ServerOverloadedError("There is no room.", detail="Server Threadpool Exhausted")


def test_a_refused_batch_is_sent_again_as_it_was(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = scheduler_of(Batcher())
    for _ in range(3):
        start(scheduler, question(2), registry, 1)
    monkeypatch.setattr(ModelSpec, "windows", None)
    (batch,) = drain(scheduler)
    for _ in range(4):
        scheduler.receive(batch, FULL)
        assert not drain(scheduler)
        (pause,) = drain_pauses(scheduler)
        scheduler.wake(pause)
        assert drain(scheduler) == [batch]
    scheduler.receive(batch, respond(batch, InProcessTransport()))
    assert [type(outcome) for _, outcome in scheduler.ready()] == [list] * 3
    assert scheduler.is_empty


def test_refused_metadata_is_fetched_again_for_all_questions() -> None:
    scheduler = scheduler_of(Batcher())
    registry = ModelRegistry()
    for _ in range(3):
        start(scheduler, question(), registry, None)
    (fetch,) = drain(scheduler)
    scheduler.receive(fetch, FULL)
    start(scheduler, question(), registry, None)
    (pause,) = drain_pauses(scheduler)
    assert not drain(scheduler)
    scheduler.wake(pause)
    assert drain(scheduler) == [fetch]
    scheduler.receive(fetch, respond(fetch, InProcessTransport()))
    (batch,) = drain(scheduler)
    assert isinstance(batch, RunInference)
    assert len(batch.windows) == 4


def test_a_refused_batch_that_nothing_waits_for_is_left_out(registry: ModelRegistry) -> None:
    scheduler = scheduler_of(Batcher(token_budget=1024))
    start(scheduler, question(300), registry, 1)
    first, second, *_ = drain(scheduler)
    scheduler.receive(first, FULL)
    scheduler.receive(second, DeadlineExceededError("It is late."))
    ((_, outcome),) = scheduler.ready()
    assert isinstance(outcome, DeadlineExceededError)
    (pause,) = drain_pauses(scheduler)
    scheduler.wake(pause)
    assert not drain(scheduler)


def test_the_first_refusal_is_raised_where_nothing_is_to_be_sent_again(
    registry: ModelRegistry,
) -> None:
    scheduler = scheduler_of(Batcher(), retry=False)
    start(scheduler, question(), registry, 1)
    (batch,) = drain(scheduler)
    scheduler.receive(batch, FULL)
    ((_, outcome),) = scheduler.ready()
    assert outcome is FULL
