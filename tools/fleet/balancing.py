"""Which replica has the next question, by what one client knows: its own calls on their way."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Candidate(Protocol):
    """What a policy sees of a replica."""

    calls: int
    """How many calls this client has on their way to it."""


Policy = Callable[[Sequence[Any], int, random.Random], Any]
"""Takes the candidates, the number of the call and what decides; returns one of the candidates."""


def pick_first(candidates: Sequence[Any], turn: int, chance: random.Random) -> Any:
    """Return the first: gRPC's default, and a connection through a Service.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    return candidates[0]


def round_robin(candidates: Sequence[Any], turn: int, chance: random.Random) -> Any:
    """Return the one whose turn it is: gRPC's `round_robin`.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    return candidates[turn % len(candidates)]


def at_random(candidates: Sequence[Any], turn: int, chance: random.Random) -> Any:
    """Return any: kube-proxy, where each call has a connection of its own.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    return candidates[int(chance.random() * len(candidates))]


def least_requests(candidates: Sequence[Candidate], turn: int, chance: random.Random) -> Any:
    """Return the one with the fewest calls, of several the first from the turn on.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    count = len(candidates)
    start = turn % count
    best = candidates[start]
    for offset in range(1, count):
        if not best.calls:
            break
        other = candidates[(start + offset) % count]
        if other.calls < best.calls:
            best = other
    return best


def power_of_two(candidates: Sequence[Candidate], turn: int, chance: random.Random) -> Any:
    """Return that of two at random which has fewer calls: Envoy's `LEAST_REQUEST`.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    count = len(candidates)
    one = candidates[int(chance.random() * count)]
    other = candidates[int(chance.random() * count)]
    return other if other.calls < one.calls else one


def turn_or_fewer(candidates: Sequence[Candidate], turn: int, chance: random.Random) -> Any:
    """Return the one whose turn it is, or one at random that has fewer calls: `EndpointPool`.

    Args:
        candidates: The replicas that can be asked.
        turn: The number of the call.
        chance: What decides where chance does.
    """
    one = candidates[turn % len(candidates)]
    other = candidates[int(chance.random() * len(candidates))]
    return other if other.calls < one.calls else one


POLICIES: Mapping[str, Policy] = {
    "pick first": pick_first,
    "random": at_random,
    "round robin": round_robin,
    "power of two choices": power_of_two,
    "turn or fewer": turn_or_fewer,
    "least requests": least_requests,
}
