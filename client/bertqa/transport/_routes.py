"""Which connection leads to a server that has a version, where servers share one address."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bertqa import _defaults
from bertqa.errors import ClientStateError

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Route(Generic[T]):
    """A way to one of the servers behind an address.

    Attributes:
        transport: The transport, with connections of its own.
        is_shared: Whether other calls use it too; otherwise it is of one call that searches.
        calls: How many calls are on their way.
        answered_at: A time of `time.monotonic()` at which it led to the version last.
        is_retired: Whether it is closed once its calls are over.
    """

    transport: T
    is_shared: bool
    calls: int = field(default=1, init=False)
    answered_at: float = field(default=-math.inf, init=False)
    is_retired: bool = field(default=False, init=False)


class Routes(Generic[T]):
    """Keeps, for each version that the first route lacked, the route that led to it last.

    A version that was looked for in vain is looked for with few attempts for a while. It is safe to
    use from several threads.

    Args:
        first: The transport that all calls use at first.
    """

    def __init__(self, first: T) -> None:
        self._first = Route(first, is_shared=True)
        self._by_version: dict[int | None, Route[T]] = {}
        self._missed: dict[int | None, float] = {}
        self._closed = False
        self._lock = threading.Lock()

    def take(self, version: int | None) -> Route[T]:
        """Return the route for a call, which `release` gets back.

        Args:
            version: The version that the call names; None is the server's default.

        Raises:
            ClientStateError: The routes are closed.
        """
        with self._lock:
            self._check_open()
            return self._taken(self._by_version.get(version, self._first))

    def other_than(self, route: Route[T], version: int | None, since: float) -> Route[T] | None:
        """Return a better route than one that led to a server without the version.

        Args:
            route: The route, which this call has taken. Where it has several connections, others
                of them may be better: it is kept where it led to the version meanwhile.
            version: The version that the call names.
            since: When the attempt began, a time of `time.monotonic()`.

        Returns:
            A route that was taken for the call, or None where it has to find one by itself.

        Raises:
            ClientStateError: The routes are closed.
        """
        with self._lock:
            self._check_open()
            known = self._by_version.get(version)
            if known is route and route.answered_at < since:
                del self._by_version[version]
                route.is_retired = True
                return None
            return None if known is None else self._taken(known)

    def found(self, route: Route[T], version: int | None) -> None:
        """Note that a route led to a version.

        Args:
            route: The route.
            version: The version that the call named.
        """
        with self._lock:
            route.answered_at = time.monotonic()
            self._missed.pop(version, None)
            if not (route.is_shared or self._closed or version in self._by_version):
                route.is_shared = True
                self._by_version[version] = route

    def release(self, route: Route[T]) -> list[T]:
        """Take a route back.

        Args:
            route: What `take` or `other_than` returned, or a route that this call has opened.

        Returns:
            The transports to close.
        """
        with self._lock:
            route.calls -= 1
            is_over = route.is_retired or not route.is_shared
            return [route.transport] if is_over and not route.calls else []

    def pauses(self, version: int | None, deadline: float, *, is_there: bool) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt to find a version.

        Args:
            version: The version.
            deadline: When the call has to be over, a time of `time.monotonic()`. The search takes
                half of the time until then at most.
            is_there: Whether the server that was met has the version, but cannot run it now.
        """
        begin = time.monotonic()
        with self._lock:
            missed_at = self._missed.get(version, -math.inf)
        is_hopeless = begin - missed_at < _defaults.SEARCH_AGAIN_SECONDS
        few = is_there or is_hopeless
        attempts = _defaults.SEARCHES_IN_DOUBT if few else _defaults.SEARCHES
        for _ in range(attempts):
            if time.monotonic() - begin >= (deadline - begin) / 2:
                break
            yield _defaults.SEARCH_PAUSE_SECONDS * random.uniform(0.5, 1.5)
        if not few:
            self._miss(version)

    def close(self) -> list[T]:
        """Forget all routes, and return their transports to close."""
        with self._lock:
            self._closed = True
            routes = [self._first, *self._by_version.values()]
            self._by_version = {}
            return [route.transport for route in routes]

    def _miss(self, version: int | None) -> None:
        now = time.monotonic()
        with self._lock:
            recent = now - _defaults.SEARCH_AGAIN_SECONDS
            self._missed = {each: at for each, at in self._missed.items() if at > recent}
            self._missed[version] = now

    def _taken(self, route: Route[T]) -> Route[T]:
        route.calls += 1
        return route

    def _check_open(self) -> None:
        if self._closed:
            raise ClientStateError("This client is closed.")
