from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import pytest

from bertqa import _defaults
from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    DeadlineExceededError,
    ServerUnreachableError,
)
from bertqa.transport import NO_ANSWER, patiently, pause_after_refusal, pauses


def test_a_first_contact_is_tried_a_few_times_with_growing_pauses() -> None:
    waits = list(pauses(time.monotonic() + 1000, patient=False))
    assert len(waits) == _defaults.ATTEMPTS - 1
    for number, pause in enumerate(waits):
        expected = _defaults.BACKOFF_SECONDS * _defaults.BACKOFF_FACTOR**number
        assert 0.8 * expected <= pause <= 1.2 * expected


def test_a_server_that_was_met_is_waited_for_with_bounded_pauses() -> None:
    waits = list(islice(pauses(time.monotonic() + 1000, patient=True), 50))
    assert len(waits) == 50
    assert max(waits) <= 1.2 * _defaults.BACKOFF_LIMIT_SECONDS
    assert len(set(waits)) > 10


def test_no_pause_goes_past_the_deadline() -> None:
    assert list(pauses(time.monotonic(), patient=True)) == []


def test_pauses_after_refusals_grow_differ_and_are_bounded() -> None:
    for times in (1, 2, 5, 10, 10_000):
        middle = min(_defaults.BACKOFF_SECONDS * 2 ** min(times - 1, 9), 2.0)
        found = [pause_after_refusal(times, 1000.0, None) for _ in range(50)]
        assert len(set(found)) > 10
        assert all(pause is not None and middle / 2 <= pause <= 1.5 * middle for pause in found)


def test_the_time_until_the_deadline_is_used_to_its_end() -> None:
    left, attempts = 3.0, 0
    while (pause := pause_after_refusal(10, left, None)) is not None:
        left -= pause
        attempts += 1
    assert 0 < left < 0.2
    assert attempts > 2


@dataclass
class Server:
    """A server whose next answers are errors."""

    errors: list[BertQAError]
    asked: int = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "an answer"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which moves only in a sleep."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    return now


@pytest.mark.parametrize("error", NO_ANSWER)
def test_a_server_that_does_not_answer_is_asked_until_the_time_is_over(
    error: type[BertQAError], clock: list[float]
) -> None:
    back = Server([error("busy")] * 9)
    assert patiently(back, 60) == "an answer"
    assert back.asked == 10

    gone = Server([error("busy")] * 1000)
    with pytest.raises(error):
        patiently(gone, 600)
    assert 590 < clock[0] < 700
    assert gone.asked > 200


def test_an_address_that_never_answered_is_given_up_soon(clock: list[float]) -> None:
    gone = Server([ServerUnreachableError("no")] * 100)
    with pytest.raises(ServerUnreachableError):
        patiently(gone, 600, met=False)
    assert gone.asked == _defaults.ATTEMPTS

    slow = Server([DeadlineExceededError("late")] * 9)
    assert patiently(slow, 600, met=False) == "an answer"


def test_what_is_an_answer_is_not_asked_again() -> None:
    refused = Server([AccessDeniedError("no")])
    with pytest.raises(AccessDeniedError):
        patiently(refused, 600)
    assert refused.asked == 1
