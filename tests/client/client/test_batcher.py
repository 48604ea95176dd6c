from __future__ import annotations

from typing import Any

import pytest

from bertqa.client import ModelRegistry
from bertqa.client._answer_flow import Question
from bertqa.client._batcher import (
    Batcher,
    InferRequest,
    MetadataRequest,
    PauseRequest,
    Request,
    Response,
)
from bertqa.client._options import Settings
from bertqa.errors import BertQAError, ServerUnreachableError
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

CONTEXT = "The Normans gave their name to Normandy. "


def question(length: int = 1) -> Question:
    return Question("Who?", CONTEXT * length, 1, Settings.of({}, 60.0))


def respond(request: Request, transport: InProcessTransport) -> Response:
    try:
        return request.send(transport, 60.0)
    except BertQAError as error:
        return error


def drain(batcher: Batcher) -> list[Request]:
    """Take all that there is to send, as if nothing were too much at once."""
    batcher._at_once = 1000
    found = []
    while (request := batcher.next_request(last=True)) is not None:
        found.append(request)
    return found


@pytest.fixture
def registry() -> ModelRegistry:
    known = ModelRegistry()
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    for version in (None, 1, 2):
        known.learn(version, transport.metadata(version=version, timeout=1))
    return known


def begin(batcher: Batcher, asked: Question, registry: ModelRegistry, version: Any) -> None:
    batcher.add(asked, asked.flow(registry, version, fall_back=False))


def test_a_version_is_asked_about_once_for_all_questions() -> None:
    batcher, registry = Batcher(), ModelRegistry()
    for _ in range(5):
        begin(batcher, question(), registry, None)
    (request,) = drain(batcher)
    assert isinstance(request, MetadataRequest)
    batcher.receive(request, respond(request, InProcessTransport()))
    (infer,) = drain(batcher)
    assert isinstance(infer, InferRequest)
    assert len(infer.pending) == 5


def test_a_request_is_of_one_version_and_one_length(registry: ModelRegistry) -> None:
    batcher = Batcher()
    for number in range(60):
        begin(batcher, question(1 + number % 20), registry, 1 + number % 2)
    requests = [request for request in drain(batcher) if isinstance(request, InferRequest)]
    assert {request.version for request in requests} == {1, 2}
    for request in requests:
        lengths = {-(-len(window.window) // 32) for window in request.pending}
        assert len(lengths) == 1


def test_outcomes_come_in_order_whatever_order_the_responses_have(registry: ModelRegistry) -> None:
    batcher, transport = Batcher(token_budget=64), InProcessTransport()
    asked = [question(1 + number % 5) for number in range(20)]
    for each in asked:
        begin(batcher, each, registry, 1)
    requests = drain(batcher)
    seen: list[Question] = []
    for request in reversed(requests):
        assert not seen or request is not requests[-1]
        batcher.receive(request, respond(request, transport))
        seen += [answered for answered, _ in batcher.ready()]
    assert [id(each) for each in seen] == [id(each) for each in asked]
    assert batcher.is_empty


def test_a_failed_request_holds_up_its_own_questions_alone(registry: ModelRegistry) -> None:
    batcher, transport = Batcher(token_budget=64), InProcessTransport()
    for _ in range(6):
        begin(batcher, question(2), registry, 1)
    *others, last = drain(batcher)
    assert isinstance(last, InferRequest)
    for request in others:
        batcher.receive(request, respond(request, transport))
    batcher.receive(last, ServerUnreachableError("It is gone."))
    assert len(list(batcher.ready())) == 6 - len(last.pending)
    assert [type(request) for request in drain(batcher)] == [PauseRequest] * len(last.pending)


def test_more_is_wanted_until_enough_waits(registry: ModelRegistry) -> None:
    batcher = Batcher(look_ahead=8)
    added = 0
    while batcher.wants_more:
        begin(batcher, question(), registry, 1)
        added += 1
    assert added == 8
    assert batcher.next_request(last=False) is not None
    assert batcher.wants_more


@pytest.mark.parametrize(("timeout", "at_once"), [(1e9, 16), (1e-9, 1)])
def test_more_is_sent_at_once_while_answers_come_soon(
    registry: ModelRegistry, timeout: float, at_once: int
) -> None:
    batcher, transport = Batcher(timeout, token_budget=64), InProcessTransport()
    for _ in range(80):
        begin(batcher, question(2), registry, 1)
    flying: list[Request] = []
    most = 0
    while not batcher.is_empty:
        while (request := batcher.next_request(last=True)) is not None:
            flying.append(request)
        most = max(most, len(flying)) if len(batcher._jobs) < 60 else 0
        first = flying.pop(0)
        batcher.receive(first, respond(first, transport))
        list(batcher.ready())
    assert most == at_once
