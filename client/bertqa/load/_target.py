"""What is asked: a server by its own protocols, or the HTTP API in front of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from bertqa import AsyncQAClient
from bertqa.errors import BertQAError, InvalidOptionError
from bertqa.transport._address import REST_SCHEMES, Address
from bertqa.transport._http import client_arguments
from bertqa.transport._names import Names
from bertqa.transport._security import Security

_SHOWN_OF_RESPONSE = 300

_VERSION = re.compile(rb'"model_version":\s*(\d+)')
Pair = tuple[str, str]


class Ask(Protocol):
    """Asks one question."""

    async def __call__(self, pair: Pair) -> int | None:
        """Ask, and drop the answer itself.

        Args:
            pair: The question and its context.

        Returns:
            The version that answered, as far as it says so.

        Raises:
            BertQAError: There is no answer.
        """
        ...


class RefusedError(BertQAError):
    """The HTTP API did not answer, or not with answers; `detail` is the kind of error."""


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

        async def ask(pair: Pair) -> int | None:
            return (await client.answer(*pair, version=target.version)).model_version

        yield ask


@asynccontextmanager
async def _http_api(target: Target, in_flight: int) -> AsyncIterator[Ask]:
    arguments, address = target.arguments, Address.parse(target.address)
    if address.scheme not in REST_SCHEMES:
        raise InvalidOptionError(
            f"The HTTP API's address is {target.address!r}, but it has to begin with http:// or "
            "https://."
        )
    security = Security.of(*(arguments.get(each) for each in ("tls", "token", "headers")))
    security.check_fits(address)
    names = Names.of(address, security).headers()
    url = f"{str(address).rstrip('/')}/v1/answers"
    timeout = float(arguments["timeout"])
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    own = client_arguments(address, security)
    async with httpx.AsyncClient(timeout=timeout, limits=limits, **own) as client:

        async def ask(pair: Pair) -> int | None:
            body = {"question": pair[0], "context": pair[1], "version": target.version}
            headers = {**await security.async_headers(timeout), **names}
            try:
                response = await client.post(
                    url,
                    json={name: value for name, value in body.items() if value is not None},
                    headers=headers,
                )
            except httpx.HTTPError as error:
                raise _refused(url, type(error).__name__, str(error)) from error
            if response.status_code != httpx.codes.OK:
                raise _refused(url, f"HTTP {response.status_code}", response.text)
            if b'"answers"' not in response.content:
                raise _refused(url, "no answers", response.text)
            answered = _VERSION.search(response.content)
            return None if answered is None else int(answered[1])

        yield ask


def _refused(url: str, kind: str, text: str) -> RefusedError:
    said = " ".join(text.split())[:_SHOWN_OF_RESPONSE]
    return RefusedError(f"No HTTP API answers at {url}: {kind}. {said}".strip(), detail=kind)
