"""Reading the body of a request, in bounded memory and time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive

from bertqa_serve.http_api.problems import UNAVAILABLE, Problem

# All bodies of a process together, in multiples of the longest one.
_TOGETHER = 16


class HungUpError(Exception):
    """The client has closed the connection: nothing can be sent to it."""


class Bodies:
    """What requests have sent so far, and what all of them together may send.

    Args:
        most: The longest body, in bytes.
        seconds: How long one may take to arrive.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._held = 0

    @contextmanager
    def counting(self) -> Iterator[bytearray]:
        """Yield a buffer for one body, which counts until the end of the block."""
        body = bytearray()
        try:
            yield body
        finally:
            self._held -= len(body)

    async def read(self, body: bytearray, receive: Receive, length: str | None) -> None:
        """Read a body.

        Args:
            body: A buffer of `counting`.
            receive: What ASGI receives with.
            length: The header `content-length`, None for a body in chunks.

        Raises:
            Problem: It is too long, or did not arrive in time, or there is no room for it now.
            HungUpError: The connection ended before it did.
        """
        if length is not None and length.isdecimal() and int(length) > self._most:
            raise self._too_long()
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HungUpError
                    self._take(body, message.get("body", b""))
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            raise Problem(
                408, f"The body did not arrive within {self._seconds:g} seconds.", headers=_CLOSE
            ) from None

    def _take(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > self._most:
            raise self._too_long()
        if self._held + len(chunk) > _TOGETHER * self._most:
            raise Problem(
                UNAVAILABLE,
                "The bodies of other requests fill the memory for them: try again later.",
                retry_after=1,
                headers=_CLOSE,
            )
        body += chunk
        self._held += len(chunk)

    def _too_long(self) -> Problem:
        return Problem(413, f"The body has more than {self._most:,} bytes.", headers=_CLOSE)


# What is left of the body would be read as the next request.
_CLOSE = {"connection": "close"}
