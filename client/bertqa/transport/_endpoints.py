"""The addresses of one name: whose turn it is, and which are ejected for a while."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bertqa import _defaults
from bertqa.errors import ClientStateError

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Endpoint(Generic[T]):
    """One address of a name, with a transport of its own.

    Attributes:
        ip: The IP address.
        transport: The transport to it.
        calls: How many calls are on their way.
        failures: How often it failed since it answered last.
        ejected_until: A time of `time.monotonic()` before which it is not probed again.
        is_retired: Whether it is closed once its calls are over.
    """

    ip: str
    transport: T
    calls: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    ejected_until: float = field(default=0.0, init=False)
    is_retired: bool = field(default=False, init=False)

    @property
    def is_ejected(self) -> bool:
        """Whether it failed, and has not shown since that it answers."""
        return self.failures > 0


class EndpointPool(Generic[T]):
    """Keeps an endpoint for each address of a name; safe to use from several threads.

    An endpoint that fails is ejected, for one second at first and for twice as long at each further
    failure, up to a bound. It is used again once a probe has found that it answers. (Envoy and gRPC
    call this outlier detection.)

    Args:
        open_endpoint: Opens the transport to an IP address.
        in_turn: Whether endpoints take turns, but for one that has more calls on their way than
            another one, picked at random; otherwise the first one that is not ejected is used.
    """

    def __init__(self, open_endpoint: Callable[[str], T], *, in_turn: bool) -> None:
        self._open = open_endpoint
        self._in_turn = in_turn
        self._endpoints: list[Endpoint[T]] = []
        self._turn = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._endpoints)

    def update(self, ips: Sequence[str]) -> list[T]:
        """Take what a name resolves to now.

        Args:
            ips: The IP addresses.

        Returns:
            Transports to close; others are returned by `release` when their last call is over.
        """
        with self._lock:
            known = {endpoint.ip: endpoint for endpoint in self._endpoints}
            self._endpoints = [
                known.pop(ip) if ip in known else Endpoint(ip, self._open(ip))
                for ip in dict.fromkeys(ips)
            ]
            return _retire(known.values())

    def take(self, tried: Collection[str]) -> Endpoint[T]:
        """Return the endpoint for the next call, which `release` gets back.

        Args:
            tried: IP addresses that the call has tried in vain.

        Returns:
            The endpoint; an ejected one only where no other is left.

        Raises:
            ClientStateError: The pool is closed.
        """
        with self._lock:
            if not self._endpoints:
                raise ClientStateError("This client is closed.")
            untried = [each for each in self._endpoints if each.ip not in tried] or self._endpoints
            candidates = [each for each in untried if not each.is_ejected] or [
                min(untried, key=lambda each: each.ejected_until)
            ]
            chosen = self._choose(candidates)
            chosen.calls += 1
            return chosen

    def _choose(self, candidates: Sequence[Endpoint[T]]) -> Endpoint[T]:
        """Return one of the candidates: the power of two choices, one of which takes turns.

        A slow server so has fewer calls, and one that fails at once does not have them all, which
        it would where the fewest calls of all decided. docs/scaling.md compares.
        """
        if not self._in_turn:
            return candidates[0]
        self._turn += 1
        return min(
            candidates[self._turn % len(candidates)],
            random.choice(candidates),
            key=lambda each: each.calls,
        )

    def release(self, endpoint: Endpoint[T]) -> list[T]:
        """Take an endpoint back.

        Args:
            endpoint: What `take` returned.

        Returns:
            The transports to close.
        """
        with self._lock:
            endpoint.calls -= 1
            return [endpoint.transport] if endpoint.is_retired and not endpoint.calls else []

    def answered(self, endpoint: Endpoint[T]) -> None:
        """Note that an endpoint answers.

        Args:
            endpoint: The endpoint.
        """
        endpoint.failures = 0

    def failed(self, endpoint: Endpoint[T]) -> None:
        """Eject an endpoint that cannot be reached or does not answer.

        Args:
            endpoint: The endpoint.
        """
        with self._lock:
            if endpoint.is_ejected and time.monotonic() < endpoint.ejected_until:
                return  # Many calls report one and the same failure.
            _eject(endpoint)

    def probed(self, endpoint: Endpoint[T], *, answers: bool) -> None:
        """Note what a probe that `due` or `suspect` asked for has found.

        Args:
            endpoint: The endpoint, which may have been replaced meanwhile.
            answers: Whether the server answers.
        """
        with self._lock:
            for current in self._endpoints:
                if current.ip == endpoint.ip:
                    current.ejected_until = 0.0
                    if answers:
                        current.failures = 0
                    else:
                        _eject(current)

    def suspect(self, endpoint: Endpoint[T]) -> list[Endpoint[T]]:
        """Return an endpoint that was silent, to be probed by this caller alone.

        Args:
            endpoint: The endpoint, which stays in use meanwhile.

        Returns:
            The endpoint, or nothing where it is ejected or probed already.
        """
        with self._lock:
            now = time.monotonic()
            if now < endpoint.ejected_until:
                return []
            endpoint.ejected_until = now + _defaults.EJECTION_LIMIT_SECONDS
            return [endpoint]

    def replace(self, endpoint: Endpoint[T]) -> list[T]:
        """Let the next calls to an endpoint that stopped answering have a new connection.

        Args:
            endpoint: The endpoint, which is ejected.

        Returns:
            The transports to close; others are returned by `release`.
        """
        with self._lock:
            if endpoint not in self._endpoints:
                return []
            fresh = Endpoint(endpoint.ip, self._open(endpoint.ip))
            fresh.failures, fresh.ejected_until = endpoint.failures, endpoint.ejected_until
            self._endpoints[self._endpoints.index(endpoint)] = fresh
            return _retire([endpoint])

    def due(self) -> list[Endpoint[T]]:
        """Return the endpoints whose ejection is over, to be probed by this caller alone."""
        with self._lock:
            now = time.monotonic()
            due = [
                each for each in self._endpoints if each.is_ejected and each.ejected_until <= now
            ]
            for endpoint in due:
                endpoint.ejected_until = now + _defaults.EJECTION_LIMIT_SECONDS
            return due

    def close(self) -> list[T]:
        """Forget all endpoints, and return their transports to close."""
        with self._lock:
            closed = [each.transport for each in self._endpoints]
            self._endpoints = []
            return closed


def _eject(endpoint: Endpoint[T]) -> None:
    seconds = _defaults.EJECTION_SECONDS * _defaults.BACKOFF_FACTOR**endpoint.failures
    endpoint.ejected_until = time.monotonic() + min(seconds, _defaults.EJECTION_LIMIT_SECONDS)
    endpoint.failures += 1


def _retire(endpoints: Collection[Endpoint[T]]) -> list[T]:
    for endpoint in endpoints:
        endpoint.is_retired = True
    return [endpoint.transport for endpoint in endpoints if not endpoint.calls]
