"""Which connection leads to a server that has a version, where servers share one address."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bertqa import _defaults
from bertqa.errors import ClientStateError
from bertqa.transport._retries import searches

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Route(Generic[T]):
    """A way to one of the servers behind an address.

    Attributes:
        transport: The transport, with connections of its own.
        is_shared: Whether other calls use it too; otherwise it is of one call that searches.
        holders: How many calls use it, and one more while it is kept for others.
        answered_at: A time of `time.monotonic()` at which it led to the version last.
    """

    transport: T
    is_shared: bool
    holders: int = field(default=1, init=False)
    answered_at: float = field(default=-math.inf, init=False)


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
                self._drop(self._by_version.pop(version))
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
                self._by_version[version] = self._taken(route)
                route.is_shared = True

    def replace_first(self, route: Route[T]) -> list[T]:
        """Let the calls that name no version, or a new one, have a new connection.

        A kept connection may lead to a server that no new one reaches, and that answers with a
        version which cannot be asked about.

        Args:
            route: The new route.

        Returns:
            The transports to close; others are returned by `release`.
        """
        with self._lock:
            if self._closed:
                return [route.transport]
            left = self._drop(self._first)
            if None in self._by_version:
                left += self._drop(self._by_version.pop(None))
            self._first = route
            route.is_shared = True
            return left

    def release(self, route: Route[T]) -> list[T]:
        """Take a route back.

        Args:
            route: What `take` or `other_than` returned, or a route that this call has opened.

        Returns:
            The transports to close.
        """
        with self._lock:
            return self._drop(route)

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
        few = is_there or begin - missed_at < _defaults.SEARCH_AGAIN_SECONDS
        attempts = _defaults.SEARCHES_IN_DOUBT if few else _defaults.SEARCHES
        yield from searches((deadline - begin) / 2, attempts)
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
        route.holders += 1
        return route

    def _drop(self, route: Route[T]) -> list[T]:
        route.holders -= 1
        return [] if route.holders else [route.transport]

    def _check_open(self) -> None:
        if self._closed:
            raise ClientStateError("This client is closed.")
