"""Recorded traffic: the requests that a client had, asked again when they came."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from bertqa.errors import DataError
from bertqa.evaluation import read_log
from bertqa.load._stage import Arrivals
from bertqa.load._target import Pair


def recorded_traffic(
    path: Path, instead: Sequence[Pair] = (), speed: float = 1.0
) -> tuple[list[Pair], Arrivals]:
    """Read requests, and when they came, from what `bertqa.Recorder` wrote.

    Args:
        path: The file, JSON Lines.
        instead: What is asked in the place of a request of which only hashes were recorded, in
            turn.
        speed: How many times as fast as they were recorded they come.

    Returns:
        The requests in the order in which they came, and their times.

    Raises:
        DataError: The file cannot be read; a line lacks its time; there are fewer than two
            requests; or a request has only hashes, and there is nothing to ask instead.
    """
    lines = list(read_log(path))
    arrived = [each.arrived for each in lines]
    if len(lines) < 2:
        raise DataError(
            f"{path} holds {len(lines)} requests, and two are the least that come at some rate. "
            "Pass a file that `bertqa.Recorder` wrote."
        )
    times = [each.timestamp() for each in arrived if each is not None]
    if len(times) < len(lines):
        raise DataError(
            f'{path}: request {1 + arrived.index(None)} lacks its time ("at"), so that it is not '
            "known when to ask it."
        )
    hashed = sum(not each.can_be_asked for each in lines)
    if hashed and not instead:
        raise DataError(
            f"{path} holds hashes in the place of texts for {hashed} of {len(lines)} requests. "
            "Name questions to ask at their times with --data, or record texts."
        )
    others = cycle(instead)
    order = sorted(range(len(lines)), key=times.__getitem__)
    begin = times[order[0]]
    pairs = [
        (lines[each].question, lines[each].context) if lines[each].can_be_asked else next(others)
        for each in order
    ]
    return pairs, Arrivals(tuple((times[each] - begin) / speed for each in order), speed)
