from __future__ import annotations

import random

import pytest

from bertqa.client._concurrency import ConcurrencyLimit, Slot, Verdict, verdict
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ServerOverloadedError,
    ServerUnreachableError,
    VersionNotFoundError,
)


def nothing() -> None:
    pass


def fill(limit: ConcurrencyLimit) -> list[Slot]:
    """Take all the slots that there are."""
    held = []
    while limit.in_flight < limit.limit:
        held.append(limit.request(nothing))
    return held


def rounds(limit: ConcurrencyLimit, count: int, ending: Verdict = Verdict.QUICK) -> None:
    """End as many requests as there may be so many times, while others wait for their slots."""
    held = fill(limit)
    for _ in range(count):
        for slot in list(held):
            limit.release(slot, ending)
            held.remove(slot)
            held += fill(limit)
    for slot in held:
        limit.release(slot)


def test_slots_are_granted_in_the_order_in_which_they_were_asked_for() -> None:
    limit = ConcurrencyLimit(at_first=2)
    woken: list[int] = []
    first, second = fill(limit)
    third, fourth = (limit.request(lambda n=n: woken.append(n)) for n in (3, 4))  # type: ignore[misc]
    assert [slot.is_held for slot in (first, second, third, fourth)] == [True, True, False, False]
    limit.release(second)
    assert woken == [3]
    limit.release(third)
    assert woken == [3, 4]
    assert (limit.in_flight, limit.waiting) == (2, 0)


def test_a_slot_is_given_back_once() -> None:
    limit = ConcurrencyLimit(at_first=2)
    slot, _ = fill(limit)
    for _ in range(3):
        limit.release(slot)
    assert limit.in_flight == 1


def test_a_slot_that_is_waited_for_no_longer_is_passed_over() -> None:
    limit = ConcurrencyLimit(at_first=1)
    (held,) = fill(limit)
    given_up, next_one = limit.request(nothing), limit.request(nothing)
    limit.release(given_up, Verdict.REFUSED)
    assert limit.limit == 1
    limit.release(held)
    assert next_one.is_held
    assert not given_up.is_held
    assert (limit.in_flight, limit.waiting) == (1, 0)


def test_a_quick_server_gets_more_up_to_the_most() -> None:
    limit = ConcurrencyLimit(at_first=2, at_most=16)
    rounds(limit, 5)
    assert limit.limit == 16
    rounds(limit, 5)
    assert limit.limit == 16


def test_a_limit_that_is_not_used_is_not_raised() -> None:
    limit = ConcurrencyLimit(at_first=4)
    for _ in range(100):
        limit.release(limit.request(nothing), Verdict.QUICK)
    assert limit.limit == 4


def test_a_refusal_halves_it_at_once_and_once_for_all_that_were_sent_before() -> None:
    limit = ConcurrencyLimit(at_first=16)
    held = fill(limit)
    limit.release(held.pop(), Verdict.REFUSED)
    assert limit.limit == 8
    for slot in held:
        limit.release(slot, Verdict.REFUSED)
    assert limit.limit == 8
    limit.release(limit.request(nothing), Verdict.REFUSED)
    assert limit.limit == 4


def test_a_slow_answer_lowers_it_and_there_is_always_one_slot() -> None:
    limit = ConcurrencyLimit(at_first=4)
    held = fill(limit)
    limit.release(held.pop(), Verdict.SLOW)
    assert limit.limit == 3
    limit.release(held.pop(), Verdict.QUICK)
    assert limit.limit == 3
    for slot in held:
        limit.release(slot)
    rounds(limit, 10, Verdict.SLOW)
    rounds(limit, 10, Verdict.REFUSED)
    assert limit.limit == 1
    assert limit.request(nothing).is_held


def test_it_recovers_by_about_one_a_round() -> None:
    limit = ConcurrencyLimit(at_first=16)
    rounds(limit, 4, Verdict.REFUSED)
    assert limit.limit == 1
    rounds(limit, 5)
    assert 4 <= limit.limit <= 7
    rounds(limit, 100)
    assert limit.limit == 64


def test_nothing_is_learnt_from_what_was_given_up() -> None:
    limit = ConcurrencyLimit(at_first=4)
    rounds(limit, 10, Verdict.NOTHING)
    assert limit.limit == 4


def test_unequal_clients_of_one_server_come_to_equal_shares() -> None:
    """A server with room for 16, which refuses what is more, and 4 clients that began apart."""
    limits = [ConcurrencyLimit(at_first=first) for first in (1, 4, 16, 60)]
    answered = [0] * len(limits)
    chance = random.Random(13)
    for step in range(600):
        sent = [(number, slot) for number, limit in enumerate(limits) for slot in fill(limit)]
        chance.shuffle(sent)
        for place, (number, slot) in enumerate(sent):
            refused = place >= 16
            limits[number].release(slot, Verdict.REFUSED if refused else Verdict.QUICK)
            answered[number] += not refused and step >= 100
    assert min(answered) >= 0.5 * sum(answered) / len(answered), answered


@pytest.mark.parametrize(
    ("response", "seconds", "expected"),
    [
        (object(), 0.9, Verdict.QUICK),
        (object(), 1.1, Verdict.SLOW),
        (ServerOverloadedError("No room."), 0.1, Verdict.REFUSED),
        (DeadlineExceededError("Late."), 0.1, Verdict.SLOW),
        (ServerUnreachableError("Gone."), 0.1, Verdict.SLOW),
        (VersionNotFoundError("Not there."), 0.1, Verdict.NOTHING),
        (BertQAError("Strange."), 9.0, Verdict.NOTHING),
    ],
)
def test_the_end_of_a_request_reveals_the_load_of_the_server(
    response: object, seconds: float, expected: Verdict
) -> None:
    assert verdict(response, seconds, timeout=10.0) is expected
