from __future__ import annotations

from typing import Any

import pytest

from bertqa.asking import Question
from bertqa.catalogue import Catalogue
from bertqa.errors import BertQAError, ServerUnreachableError
from bertqa.options import Settings
from bertqa.scheduling import (
    InferRequest,
    MetadataRequest,
    PauseRequest,
    Request,
    Response,
    Scheduler,
)
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


def drain(scheduler: Scheduler) -> list[Request]:
    """Take all that there is to send, as if nothing were too much at once."""
    scheduler._at_once = 1000
    found = []
    while (request := scheduler.next_request(last=True)) is not None:
        found.append(request)
    return found


@pytest.fixture
def catalogue() -> Catalogue:
    known = Catalogue()
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    for version in (None, 1, 2):
        known.learn(version, transport.metadata(version=version, timeout=1))
    return known


def begin(scheduler: Scheduler, asked: Question, catalogue: Catalogue, version: Any) -> None:
    scheduler.add(asked, asked.course(catalogue, version, fall_back=False))


def test_a_version_is_asked_about_once_for_all_questions() -> None:
    scheduler, catalogue = Scheduler(), Catalogue()
    for _ in range(5):
        begin(scheduler, question(), catalogue, None)
    (request,) = drain(scheduler)
    assert isinstance(request, MetadataRequest)
    scheduler.receive(request, respond(request, InProcessTransport()))
    (infer,) = drain(scheduler)
    assert isinstance(infer, InferRequest)
    assert len(infer.places) == 5


def test_a_request_is_of_one_version_and_one_length(catalogue: Catalogue) -> None:
    scheduler = Scheduler()
    for number in range(60):
        begin(scheduler, question(1 + number % 20), catalogue, 1 + number % 2)
    requests = [request for request in drain(scheduler) if isinstance(request, InferRequest)]
    assert {request.version for request in requests} == {1, 2}
    for request in requests:
        lengths = {-(-len(place.window) // 32) for place in request.places}
        assert len(lengths) == 1


def test_outcomes_come_in_order_whatever_order_the_responses_have(catalogue: Catalogue) -> None:
    scheduler, transport = Scheduler(token_budget=64), InProcessTransport()
    asked = [question(1 + number % 5) for number in range(20)]
    for each in asked:
        begin(scheduler, each, catalogue, 1)
    requests = drain(scheduler)
    seen: list[Question] = []
    for request in reversed(requests):
        assert not seen or request is not requests[-1]
        scheduler.receive(request, respond(request, transport))
        seen += [answered for answered, _ in scheduler.ready()]
    assert [id(each) for each in seen] == [id(each) for each in asked]
    assert scheduler.is_empty


def test_a_failed_request_holds_up_its_own_questions_alone(catalogue: Catalogue) -> None:
    scheduler, transport = Scheduler(token_budget=64), InProcessTransport()
    for _ in range(6):
        begin(scheduler, question(2), catalogue, 1)
    *others, last = drain(scheduler)
    assert isinstance(last, InferRequest)
    for request in others:
        scheduler.receive(request, respond(request, transport))
    scheduler.receive(last, ServerUnreachableError("It is gone."))
    assert len(list(scheduler.ready())) == 6 - len(last.places)
    assert [type(request) for request in drain(scheduler)] == [PauseRequest] * len(last.places)


def test_more_is_wanted_until_enough_waits(catalogue: Catalogue) -> None:
    scheduler = Scheduler(look_ahead=8)
    added = 0
    while scheduler.wants_more:
        begin(scheduler, question(), catalogue, 1)
        added += 1
    assert added == 8
    assert scheduler.next_request(last=False) is not None
    assert scheduler.wants_more


@pytest.mark.parametrize(("timeout", "at_once"), [(1e9, 16), (1e-9, 1)])
def test_more_is_sent_at_once_while_answers_come_soon(
    catalogue: Catalogue, timeout: float, at_once: int
) -> None:
    scheduler, transport = Scheduler(timeout, token_budget=64), InProcessTransport()
    for _ in range(80):
        begin(scheduler, question(2), catalogue, 1)
    flying: list[Request] = []
    most = 0
    while not scheduler.is_empty:
        while (request := scheduler.next_request(last=True)) is not None:
            flying.append(request)
        most = max(most, len(flying)) if len(scheduler._jobs) < 60 else 0
        first = flying.pop(0)
        scheduler.receive(first, respond(first, transport))
        list(scheduler.ready())
    assert most == at_once
