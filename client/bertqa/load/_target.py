"""What is asked: a server by its own protocols, or the HTTP API in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from bertqa import AsyncQAClient
from bertqa.errors import BertQAError

Pair = tuple[str, str]


class Ask(Protocol):
    """Asks one question."""

    async def __call__(self, pair: Pair) -> None:
        """Ask, and drop the answer.

        Args:
            pair: The question and its context.

        Raises:
            BertQAError: There is no answer.
        """
        ...


class RefusedError(BertQAError):
    """The HTTP API answered with a status that is not 200."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked. It is sent to the processes that ask.

    Attributes:
        arguments: What `AsyncQAClient` takes for the connection.
        version: The version that answers; None is the server's default.
        is_http_api: Whether the address is that of an HTTP API.
        name: What it is called, where that is not its address or version.
    """

    arguments: Mapping[str, Any] = field(repr=False)
    version: int | None = None
    is_http_api: bool = False
    name: str = ""

    @property
    def address(self) -> str:
        """The address that is asked."""
        return str(self.arguments["url"])

    @property
    def title(self) -> str:
        """What it is called in tables."""
        by_number = self.address if self.version is None else f"version {self.version}"
        name = self.name or by_number
        return f"{name} (HTTP API)" if self.is_http_api else name

    def opened(self, in_flight: int) -> AbstractAsyncContextManager[Ask]:
        """Return what asks, while the block runs.

        Args:
            in_flight: How many questions are on their way at most, for the HTTP API's connections.
        """
        return _http_api(self, in_flight) if self.is_http_api else _client(self)


@asynccontextmanager
async def _client(target: Target) -> AsyncIterator[Ask]:
    async with AsyncQAClient(**target.arguments) as client:

        async def ask(pair: Pair) -> None:
            await client.answer(*pair, version=target.version)

        yield ask


@asynccontextmanager
async def _http_api(target: Target, in_flight: int) -> AsyncIterator[Ask]:
    arguments = target.arguments
    headers = dict(arguments.get("headers") or {})
    token = arguments.get("token")
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(timeout=arguments["timeout"], limits=limits) as client:

        async def ask(pair: Pair) -> None:
            if token is not None:
                headers["Authorization"] = f"Bearer {token if isinstance(token, str) else token()}"
            body = {"question": pair[0], "context": pair[1], "version": target.version}
            try:
                response = await client.post(
                    f"{target.address}/v1/answers",
                    json={name: value for name, value in body.items() if value is not None},
                    headers=headers,
                )
            except httpx.HTTPError as error:
                raise RefusedError(type(error).__name__) from error
            if response.status_code != httpx.codes.OK:
                raise RefusedError(f"HTTP {response.status_code}")

        yield ask
