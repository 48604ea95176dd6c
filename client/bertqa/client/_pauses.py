"""The pauses of one stream: nothing is on its way meanwhile, so they need no thread and no task."""

from __future__ import annotations

import time
from collections.abc import Mapping

from bertqa.client._effects import Sleep
from bertqa.client._scheduler import Scheduler


def begin_pauses(scheduler: Scheduler, sleeping: dict[Sleep, float]) -> None:
    """Note when each new pause of a scheduler ends.

    Args:
        scheduler: The scheduler of the stream.
        sleeping: The times of `time.monotonic()` at which its pauses end.
    """
    while (pause := scheduler.next_pause()) is not None:
        sleeping[pause] = time.monotonic() + pause.seconds


def end_pauses(scheduler: Scheduler, sleeping: dict[Sleep, float]) -> None:
    """Wake what slept through each pause that is over; see `begin_pauses`."""
    now = time.monotonic()
    for pause in [each for each, end in sleeping.items() if end <= now]:
        del sleeping[pause]
        scheduler.wake(pause)


def seconds_until(sleeping: Mapping[Sleep, float], deadline: float | None) -> float | None:
    """Return how long nothing has to be done of itself.

    Args:
        sleeping: The times of `time.monotonic()` at which pauses end.
        deadline: Another such time, if there is one.

    Returns:
        Seconds until the first of them, from 0 on; None where there is none.
    """
    ends = [*sleeping.values(), *([] if deadline is None else [deadline])]
    return max(min(ends) - time.monotonic(), 0.0) if ends else None
