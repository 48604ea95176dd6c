"""Windows of questions that wait at the same time, sent in one request."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from bertqa import _defaults
from bertqa.client._concurrency import ConcurrencyLimit, Hold, Slot
from bertqa.client._deadline import too_late
from bertqa.client._effects import RunInference
from bertqa.client._refusals import Response
from bertqa.client._turns import Sending
from bertqa.qa import padded_length
from bertqa.transport import CALL_HEADERS, InferResult

# What differs from question to question, and changes nothing: a batch has those of its first.
_OF_ONE_QUESTION = frozenset(("traceparent", "tracestate", "baggage", "x-request-id"))

_Key = tuple[int | None, tuple[str, ...], int, tuple[tuple[str, str], ...]]
"""A version, the inputs that it takes, a padded length, and the headers of the call."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A window that waits for its result."""

    effect: RunInference
    deadline: float
    result: asyncio.Future[Response]
    context: contextvars.Context
    batch: _Batch | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """The task of a request, and how many of its windows are waited for."""

    task: asyncio.Task[None]
    wanted: int

    def leave(self) -> None:
        self.wanted -= 1
        if not self.wanted:
            self.task.cancel()


class SharedBatches:
    """Has windows share requests while all slots are in use.

    Which of them go together is decided when a slot is free, so that the more questions wait, the
    more of them a request answers. Windows of one batch have the same padded length; the one that
    has waited longest goes first.

    Args:
        limit: Grants the slots.
        send: Sends a request, releases its slot, and returns the result or the error.
    """

    def __init__(
        self, limit: ConcurrencyLimit, send: Callable[[Sending, float], Awaitable[Response]]
    ) -> None:
        self._limit = limit
        self._send = send
        self._queues: dict[_Key, deque[_Waiting]] = {}
        self._slots: dict[_Key, Slot] = {}

    async def run(self, effect: RunInference, deadline: float, timeout: float) -> Response:
        """Return the result for one window, as if it had been sent by itself.

        Args:
            effect: The window.
            deadline: When the result is too late, a time of `time.monotonic()`.
            timeout: The timeout that the deadline was made of.
        """
        (window,) = effect.windows
        headers = CALL_HEADERS.get().items()
        kept = tuple(sorted(each for each in headers if each[0] not in _OF_ONE_QUESTION))
        key = effect.version, window.inputs, padded_length(len(window)), kept
        loop = asyncio.get_running_loop()
        waiting = _Waiting(effect, deadline, loop.create_future(), contextvars.copy_context())
        self._queues.setdefault(key, deque()).append(waiting)
        self._want_slot(key)
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                return await waiting.result
        except TimeoutError:
            return too_late(timeout)
        finally:
            self._leave(key, waiting)

    def _want_slot(self, key: _Key) -> None:
        if key in self._slots:
            return
        loop = asyncio.get_running_loop()
        # The limit calls it at any point, and must not be called back there.
        slot = self._limit.request(partial(loop.call_soon, self._depart, key), key[0])
        self._slots[key] = slot
        if slot.is_held:
            loop.call_soon(self._depart, key)

    def _depart(self, key: _Key) -> None:
        """Send what waits now, as far as it fits into one request."""
        slot = self._slots.get(key)
        if slot is None or not slot.is_held:
            # The slot that called was let go meanwhile; this one, if any, is still waited for.
            return
        del self._slots[key]
        queue, length = self._queues[key], key[2]
        most = max(_defaults.TOKEN_BUDGET // length, 1)
        members = [queue.popleft() for _ in range(min(most, len(queue)))]
        if queue:
            self._want_slot(key)
        else:
            del self._queues[key]
        hold = Hold(self._limit, slot)
        task = asyncio.get_running_loop().create_task(
            self._run(members, hold), context=members[0].context
        )
        # A task that is cancelled before it begins releases nothing by itself.
        task.add_done_callback(lambda _: hold.release())
        batch = _Batch(task, len(members))
        for waiting in members:
            waiting.batch = batch

    async def _run(self, batch: list[_Waiting], hold: Hold) -> None:
        deadline = max(each.deadline for each in batch)
        timeout = max(deadline - time.monotonic(), 0.0)
        windows = [window for each in batch for window in each.effect.windows]
        request = RunInference(windows, batch[0].effect.version)
        try:
            sending = Sending(request, deadline, hold, None)
            response = await self._send(sending, timeout)
        except Exception as error:
            for waiting in batch:
                if not waiting.result.done():
                    waiting.result.set_exception(error)
            return
        for row, waiting in enumerate(batch):
            if not waiting.result.done():
                waiting.result.set_result(_part(response, row, len(batch)))

    def _leave(self, key: _Key, left: _Waiting) -> None:
        """Cancel what nothing waits for any more."""
        left.result.cancel()
        if left.batch is not None:
            left.batch.leave()
            return
        queue = self._queues[key]
        queue.remove(left)
        if not queue:
            del self._queues[key]
            self._limit.release(self._slots.pop(key))


def _part(response: Response, row: int, rows: int) -> Response:
    """Return what one window of a batch gets."""
    if not isinstance(response, InferResult):
        return response
    outputs = {
        name: output[row : row + 1] if output.shape[:1] == (rows,) else output
        for name, output in response.outputs.items()
    }
    return InferResult(outputs, response.model_version)
