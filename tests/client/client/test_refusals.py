from __future__ import annotations

import time

import pytest

from bertqa.client import ModelRegistry
from bertqa.client._effects import FetchMetadata, Sleep
from bertqa.client._refusals import Refusals
from bertqa.errors import DeadlineExceededError, ServerOverloadedError, ServerUnreachableError

FULL = ServerOverloadedError("There is no room.", detail="Server Threadpool Exhausted")


def given_up(refusals: Refusals, error: ServerOverloadedError = FULL) -> ServerOverloadedError:
    """Refuse a request at once until it is given up."""
    request = FetchMetadata(None, ModelRegistry())
    judged = refusals.judge(request, error)
    while isinstance(judged, Sleep):
        judged = refusals.judge(request, error)
        time.sleep(0.01)
    assert isinstance(judged, ServerOverloadedError)
    return judged


def test_a_request_is_given_up_when_its_time_is_over_and_says_how_long_it_was_tried() -> None:
    error = given_up(Refusals(timeout=0.5, retry=True))
    assert str(error).startswith("There is no room. It was refused ")
    assert "times in 0." in str(error)
    assert error.detail == "Server Threadpool Exhausted"


def test_the_deadline_of_all_requests_counts_where_there_is_one() -> None:
    begin = time.monotonic()
    given_up(Refusals(1000.0, begin + 0.5, retry=True))
    assert "once" in str(given_up(Refusals(1000.0, begin - 1, retry=True)))


def test_a_server_is_not_asked_before_the_time_that_it_names() -> None:
    patient = ServerOverloadedError("There is no room.", retry_after=7.0)
    pause = Refusals(60.0, retry=True).judge(FetchMetadata(None, ModelRegistry()), patient)
    assert isinstance(pause, Sleep)
    assert 7.0 <= pause.seconds <= 8.4
    error = given_up(Refusals(5.0, retry=True), patient)
    assert str(error).endswith("It was refused once. It asks to wait 7 s.")


def test_what_was_refused_and_ran_out_of_time_waiting_was_refused() -> None:
    refusals, request = Refusals(60.0, retry=True), FetchMetadata(None, ModelRegistry())
    assert isinstance(refusals.judge(request, FULL), Sleep)
    error = refusals.judge(request, DeadlineExceededError("It is late."))
    assert isinstance(error, ServerOverloadedError)
    assert error.detail == FULL.detail
    late = DeadlineExceededError("It is late.")
    assert refusals.judge(request, late) is late


@pytest.mark.parametrize("retry", [False, True])
def test_nothing_else_is_sent_again(retry: bool) -> None:
    refusals = Refusals(60.0, retry=retry)
    gone = ServerUnreachableError("It is gone.")
    assert refusals.judge(FetchMetadata(None, ModelRegistry()), gone) is gone
    assert isinstance(refusals.judge(FetchMetadata(None, ModelRegistry()), FULL), Sleep) == retry
