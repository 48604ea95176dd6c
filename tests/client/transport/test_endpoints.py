from __future__ import annotations

from collections import Counter

import pytest

from bertqa import _defaults
from bertqa.errors import ClientStateError
from bertqa.transport._endpoints import Endpoint, EndpointPool

IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bertqa.transport._endpoints.time", clock)
    return clock


def pool_of(*ips: str, in_turn: bool = True) -> EndpointPool[str]:
    opened: EndpointPool[str] = EndpointPool(lambda ip: f"to {ip}", in_turn=in_turn)
    assert opened.update(ips) == []
    return opened


def taken(pool: EndpointPool[str], count: int, tried: set[str] | None = None) -> list[str]:
    found = []
    for _ in range(count):
        endpoint = pool.take(tried or set())
        found.append(endpoint.ip)
        pool.release(endpoint)
    return found


def endpoint_of(pool: EndpointPool[str], ip: str) -> Endpoint[str]:
    endpoint = pool.take({each for each in [*IPS, "10.0.0.4"] if each != ip})
    assert endpoint.ip == ip
    pool.release(endpoint)
    return endpoint


def test_addresses_take_turns_or_the_first_one_has_all() -> None:
    assert sorted(taken(pool_of(*IPS), 6)) == sorted(IPS * 2)
    assert taken(pool_of(*IPS, in_turn=False), 3) == [IPS[0]] * 3


def test_a_slow_server_has_fewer_calls_and_the_others_still_take_turns() -> None:
    pool = pool_of(*IPS)
    waits = [endpoint_of(pool, IPS[0])]
    waits[0].calls += 10
    counts = Counter(taken(pool, 300))
    # It is used where it is both the one whose turn it is and the one that is picked.
    assert 0 < counts[IPS[0]] < 70
    waits[0].calls -= 10
    counts = Counter(taken(pool, 300))
    assert set(counts.values()) == {100}


def test_calls_that_last_spread_over_all_servers() -> None:
    pool = pool_of(*IPS)
    lasting = [pool.take(set()) for _ in range(300)]
    assert all(80 < each.calls < 120 for each in lasting)


@pytest.mark.parametrize("in_turn", [True, False])
def test_what_was_tried_or_is_ejected_is_left_out(in_turn: bool) -> None:
    pool = pool_of(*IPS, in_turn=in_turn)
    pool.failed(endpoint_of(pool, IPS[0]))
    assert set(taken(pool, 6)) <= set(IPS[1:])
    assert set(taken(pool, 6, {IPS[1]})) == {IPS[2]}
    # One that is ejected is better than none.
    assert taken(pool, 1, set(IPS[1:])) == [IPS[0]]


def test_an_ejection_doubles_up_to_a_bound_and_ends_with_an_answer(clock: Clock) -> None:
    pool = pool_of(*IPS)
    endpoint = endpoint_of(pool, IPS[0])
    for failures in range(12):
        pool.failed(endpoint)
        expected = min(_defaults.EJECTION_SECONDS * 2**failures, _defaults.EJECTION_LIMIT_SECONDS)
        assert endpoint.ejected_until == clock.now + expected
        pool.failed(endpoint)  # Of another call, at the same time.
        assert endpoint.failures == failures + 1
        assert pool.due() == []
        clock.now = endpoint.ejected_until
    assert pool.due() == [endpoint]
    assert pool.due() == []
    pool.answered(endpoint)
    assert IPS[0] in taken(pool, 3)


def test_a_probe_that_is_not_answered_doubles_the_ejection(clock: Clock) -> None:
    pool = pool_of(*IPS)
    pool.failed(endpoint_of(pool, IPS[0]))
    for failures in range(1, 8):
        clock.now += _defaults.EJECTION_LIMIT_SECONDS
        (endpoint,) = pool.due()
        pool.failed(endpoint)  # Of a call that had no other address, while the probe waits.
        pool.replace(endpoint)
        pool.probed(endpoint, answers=False)
        expected = min(_defaults.EJECTION_SECONDS * 2**failures, _defaults.EJECTION_LIMIT_SECONDS)
        assert endpoint_of(pool, IPS[0]).ejected_until == clock.now + expected
    pool.probed(endpoint, answers=True)
    assert IPS[0] in taken(pool, 3)


def test_one_that_was_silent_stays_in_use_until_one_probe_has_found_that_it_hangs(
    clock: Clock,
) -> None:
    pool = pool_of(*IPS)
    silent = endpoint_of(pool, IPS[0])
    for answers, used in ((True, True), (False, False)):
        assert pool.suspect(silent) == [silent]
        assert pool.suspect(silent) == []
        assert IPS[0] in taken(pool, 3)
        pool.probed(silent, answers=answers)
        assert (IPS[0] in taken(pool, 3)) is used
    assert pool.suspect(silent) == []


def test_a_closed_pool_says_so() -> None:
    pool = pool_of(*IPS)
    pool.close()
    with pytest.raises(ClientStateError, match="closed"):
        pool.take(set())


def test_a_transport_is_closed_when_its_last_call_is_over() -> None:
    pool = pool_of(*IPS)
    idle, used = endpoint_of(pool, IPS[0]), pool.take({IPS[0], IPS[2]})
    assert pool.update([IPS[2]]) == [idle.transport]
    assert pool.release(used) == [used.transport]
    assert len(pool) == 1
    assert pool.close() == [f"to {IPS[2]}"]


def test_a_new_connection_stays_ejected() -> None:
    pool = pool_of(*IPS, in_turn=False)
    hangs = pool.take(set())
    pool.failed(hangs)
    assert pool.replace(hangs) == []
    assert pool.replace(hangs) == []
    assert taken(pool, 2) == [IPS[1]] * 2
    assert pool.release(hangs) == [hangs.transport]


def test_an_address_that_stays_keeps_its_connection() -> None:
    pool = pool_of(*IPS)
    kept = endpoint_of(pool, IPS[1])
    pool.failed(kept)
    pool.update([IPS[1], "10.0.0.4"])
    assert taken(pool, 4) == ["10.0.0.4"] * 4
    assert endpoint_of(pool, IPS[1]) is kept
