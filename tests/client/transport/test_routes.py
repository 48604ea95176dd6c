"""Which route a call takes, and when routes are closed."""

from __future__ import annotations

import time

import pytest

from bertqa import _defaults
from bertqa.errors import ClientStateError
from bertqa.transport._routes import Route, Routes

pytestmark = pytest.mark.unit


def test_a_route_that_led_to_a_version_is_for_that_version_alone() -> None:
    routes = Routes("first")
    own = Route("second", is_shared=False)
    routes.found(own, 2)
    assert routes.release(own) == []
    assert routes.take(2) is own
    assert routes.take(None).transport == "first"
    assert routes.take(1).transport == "first"


def test_of_two_routes_to_a_version_one_is_kept() -> None:
    routes = Routes("first")
    one, other = Route("one", is_shared=False), Route("other", is_shared=False)
    routes.found(one, 2)
    routes.found(other, 2)
    assert routes.release(other) == ["other"]
    assert routes.release(one) == []


def test_a_route_is_kept_as_long_as_it_leads_others_to_the_version() -> None:
    routes = Routes("first")
    own = Route("second", is_shared=False)
    routes.found(own, 2)
    routes.release(own)
    begin = time.monotonic()
    mine, others = routes.take(2), routes.take(2)
    routes.found(others, 2)
    assert routes.other_than(mine, 2, begin) is own
    since = time.monotonic()
    assert routes.other_than(mine, 2, since) is None
    assert routes.take(2).transport == "first"
    assert [routes.release(own) for _ in range(3)] == [[], [], ["second"]]


def test_the_first_route_is_replaced_and_closed_after_its_calls() -> None:
    routes = Routes("first")
    route = routes.take(None)
    assert routes.replace_first(Route("second", is_shared=False)) == []
    assert routes.take(None).transport == "second"
    assert routes.release(route) == ["first"]


def test_what_is_closed_opens_nothing_any_more() -> None:
    routes = Routes("first")
    kept, own = Route("kept", is_shared=False), Route("own", is_shared=False)
    routes.found(kept, 2)
    assert sorted(routes.close()) == ["first", "kept"]
    routes.found(own, 3)
    assert routes.release(own) == ["own"]
    assert routes.replace_first(Route("late", is_shared=False)) == ["late"]
    with pytest.raises(ClientStateError):
        routes.take(None)
    with pytest.raises(ClientStateError):
        routes.other_than(own, 3, time.monotonic())


def test_what_was_missed_a_moment_ago_is_looked_for_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes = Routes("first")
    deadline = time.monotonic() + 600

    def attempts(version: int, *, is_there: bool = False) -> int:
        return len(list(routes.pauses(version, deadline, is_there=is_there)))

    assert attempts(1, is_there=True) == _defaults.SEARCHES_IN_DOUBT
    assert attempts(1) == _defaults.SEARCHES
    assert attempts(1) == _defaults.SEARCHES_IN_DOUBT
    assert attempts(2) == _defaults.SEARCHES
    routes.found(routes.take(1), 1)
    assert attempts(1) == _defaults.SEARCHES
    monkeypatch.setattr(_defaults, "SEARCH_AGAIN_SECONDS", 0.0)
    assert attempts(2) == _defaults.SEARCHES
    assert list(routes.pauses(3, time.monotonic(), is_there=False)) == []
