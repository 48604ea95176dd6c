from __future__ import annotations

import pytest

from bertqa.client import ModelRegistry
from bertqa.client._batcher import Batcher
from bertqa.client._effects import Effect, FetchMetadata, RunInference, Sleep
from bertqa.client._options import Settings
from bertqa.client._question import Question
from bertqa.client._scheduler import Response, Scheduler
from bertqa.client._sync.effects import execute
from bertqa.errors import BertQAError, ModelNotReadyError, ServerUnreachableError
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

CONTEXT = "The Normans gave their name to Normandy. "


def question(length: int = 1) -> Question:
    return Question("Who?", CONTEXT * length, 1, Settings.of({}, 60.0))


def respond(effect: Effect, transport: InProcessTransport) -> Response:
    if isinstance(effect, Sleep):
        return None
    try:
        return execute(transport, effect, 60.0)
    except BertQAError as error:
        return error


def drain(scheduler: Scheduler) -> list[Effect]:
    """Take all effects that there are, as if nothing were too much at once."""
    scheduler._batcher._limit = 1000
    found = []
    while (effect := scheduler.next_effect(last=True)) is not None:
        found.append(effect)
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
    scheduler, registry = Scheduler(Batcher()), ModelRegistry()
    for _ in range(5):
        start(scheduler, question(), registry, None)
    (fetch,) = drain(scheduler)
    assert isinstance(fetch, FetchMetadata)
    scheduler.receive(fetch, respond(fetch, InProcessTransport()))
    (batch,) = drain(scheduler)
    assert isinstance(batch, RunInference)
    assert len(batch.windows) == 5


def test_outcomes_come_in_order_whatever_order_the_responses_have(registry: ModelRegistry) -> None:
    scheduler, transport = Scheduler(Batcher(token_budget=64)), InProcessTransport()
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
    scheduler, transport = Scheduler(Batcher(token_budget=64)), InProcessTransport()
    for _ in range(6):
        start(scheduler, question(2), registry, 1)
    *others, last = drain(scheduler)
    assert isinstance(last, RunInference)
    for effect in others:
        scheduler.receive(effect, respond(effect, transport))
    scheduler.receive(last, ServerUnreachableError("It is gone."))
    assert len(list(scheduler.ready())) == 6 - len(last.windows)
    assert [type(effect) for effect in drain(scheduler)] == [Sleep] * len(last.windows)


def test_a_question_whose_batches_all_fail_learns_of_it_once(registry: ModelRegistry) -> None:
    scheduler, transport = Scheduler(Batcher(token_budget=1024)), InProcessTransport()
    start(scheduler, question(300), registry, 1)
    batches = drain(scheduler)
    assert max(len(each.windows) for each in batches if isinstance(each, RunInference)) > 1
    assert len(batches) > 1
    for batch in batches:
        scheduler.receive(batch, ModelNotReadyError("It is loading."))
    (pause,) = drain(scheduler)
    assert isinstance(pause, Sleep)
    scheduler.receive(pause, None)
    for batch in drain(scheduler):
        scheduler.receive(batch, respond(batch, transport))
    ((_, outcome),) = scheduler.ready()
    assert isinstance(outcome, list)
    assert scheduler._under_way == 0


def test_more_is_wanted_until_enough_waits(registry: ModelRegistry) -> None:
    scheduler = Scheduler(Batcher(look_ahead=8))
    added = 0
    while scheduler.wants_more:
        start(scheduler, question(), registry, 1)
        added += 1
    assert added == 8
    assert scheduler.next_effect(last=False) is not None
    assert scheduler.wants_more
