"""What becomes of requests that a server refused for lack of room, without any input or output."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bertqa.client._effects import Request, Sleep
from bertqa.client._model_registry import ModelSpec
from bertqa.errors import BertQAError, DeadlineExceededError, ServerOverloadedError
from bertqa.transport import InferResult, pause_after_refusal

Response = ModelSpec | InferResult | BertQAError
"""The result of a request, or the error that it ended with."""


@dataclass(slots=True)
class _Refused:
    """A request that was refused, since when, how often, and what the server said last."""

    since: float
    deadline: float
    times: int
    error: ServerOverloadedError


class Refusals:
    """Decides, for one stream of requests, which ones are sent again and when.

    Args:
        timeout: For how many seconds a request is sent again, counted from its first refusal.
        deadline: A time of `time.monotonic()` for all requests together, instead.
        retry: Whether anything is sent again at all.
    """

    def __init__(self, timeout: float, deadline: float | None = None, *, retry: bool) -> None:
        self._timeout = timeout
        self._deadline = deadline
        self._retry = retry
        self._refused: dict[Request, _Refused] = {}

    def judge(
        self, request: Request, response: Response, until: float | None = None
    ) -> Response | Sleep:
        """Return the pause after which to send a request again, or what it ended with.

        Args:
            request: The request.
            response: Its result, or the error that it ended with.
            until: When a question gives up that waits for the request, None where none has failed.

        Returns:
            A pause where the request was refused and there is time left. Otherwise the response;
            the error of a request that was refused to its end says how long it was tried.
        """
        if isinstance(response, ServerOverloadedError) and self._retry:
            return self._pause(request, response, until)
        refused = self._refused.pop(request, None)
        if refused is not None and isinstance(response, DeadlineExceededError):
            return _given_up(refused)
        return response

    def forget(self, request: Request) -> None:
        """Forget a request that is not sent again.

        Args:
            request: The request.
        """
        self._refused.pop(request, None)

    def _pause(
        self, request: Request, error: ServerOverloadedError, until: float | None
    ) -> Sleep | Response:
        now = time.monotonic()
        refused = self._refused.get(request)
        if refused is None:
            deadline = self._deadline or until or now + self._timeout
            refused = self._refused[request] = _Refused(now, deadline, 0, error)
        refused.times += 1
        refused.error = error
        seconds = pause_after_refusal(refused.times, refused.deadline - now, error.retry_after)
        if seconds is not None:
            return Sleep(seconds)
        del self._refused[request]
        return _given_up(refused)


def _given_up(refused: _Refused) -> ServerOverloadedError:
    error, seconds = refused.error, time.monotonic() - refused.since
    wait = "" if error.retry_after is None else f" It asks to wait {error.retry_after:g} s."
    times = "once" if refused.times == 1 else f"{refused.times} times in {seconds:.1f} s"
    return ServerOverloadedError(
        f"{error} It was refused {times}.{wait}",
        detail=error.detail,
        retry_after=error.retry_after,
    )
