"""TLS and authentication for the connection to a server."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import grpc

from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    DeadlineExceededError,
    InvalidOptionError,
)
from bertqa.transport._address import Address
from bertqa.transport._background import SyncCall
from bertqa.transport._call_headers import CALL_HEADERS
from bertqa.transport._headers import check_size, checked_headers, checked_token
from bertqa.transport._tls import TLS

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or what returns the one of now: called for each request."""

_AUTHORIZATION = "authorization"


@dataclass(frozen=True, slots=True, repr=False)
class Security:
    """TLS, and what to send with each call.

    Attributes:
        tls: How to check and what to show; None where nothing was asked for.
        headers: Headers by lower-case name; their values are secrets, which `repr` leaves out.
        token: A bearer token, or what returns one.
    """

    tls: TLS | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None

    def __repr__(self) -> str:
        names = sorted([*self.headers, *([] if self.token is None else [_AUTHORIZATION])])
        return f"Security(tls={self.tls!r}, headers={names} (values hidden))"

    @classmethod
    def of(
        cls,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Security:
        """Combine what a user passed.

        Args:
            tls: TLS files and the server's name, or None for the system's certificates.
            token: A bearer token, or what returns the one of now, or None. It may return an
                awaitable where the client is asynchronous. One newline at the end is left out.
            headers: More headers, or None; names become lower case, as gRPC requires it. `Host`
                is the name by which the server is called, over gRPC too.

        Returns:
            The combination.

        Raises:
            InvalidOptionError: The token or a header cannot be sent; the message names it, and does
                not show its value.
        """
        if not (tls is None or isinstance(tls, TLS)):
            raise InvalidOptionError(f"tls= is of type {type(tls).__name__}: pass bertqa.TLS(...).")
        checked = checked_headers(headers)
        if token is not None:
            if _AUTHORIZATION in checked:
                raise InvalidOptionError(
                    "Pass token= or the header 'authorization', and not both: token= is sent as it."
                )
            if not callable(token):
                token = checked_token(token)
        made = cls(tls, checked, token)
        if not callable(token):
            made._with_token(token)  # It checks them together.
        return made

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate is for, where that is not the address's."""
        return None if self.tls is None else self.tls.server_name

    @property
    def has_credentials(self) -> bool:
        """Whether calls of this context send a token, or a header `Authorization`."""
        headers = {**self.headers, **CALL_HEADERS.get()}
        return self.token is not None or _AUTHORIZATION in headers

    async def async_headers(self, timeout: float) -> dict[str, str]:
        """Return the headers of one call, with the token of now and those of this call alone.

        Args:
            timeout: Seconds to wait for the token.

        Raises:
            BertQAError: The token cannot be obtained, or not in time, or cannot be sent.
        """
        if not callable(self.token):
            return self._with_token(self.token)
        end = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                token = await self._awaited_token()
        except TimeoutError as error:
            raise _late_token(timeout) from error
        if time.monotonic() > end:
            raise _late_token(timeout)
        return self._with_token(token)

    async def _awaited_token(self) -> object:
        token = self._current_token()
        if inspect.isawaitable(token):
            try:
                token = await token
            except BertQAError:
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                raise _no_token(error) from error
            except Exception as error:
                raise _no_token(error) from error
        return token

    def sync_headers(self, timeout: float) -> dict[str, str]:
        """Return the headers of one call; see `async_headers`."""
        if not callable(self.token):
            return self._with_token(self.token)

        def leave() -> None:
            raise _late_token(timeout)

        # A thread that waits for something cannot be interrupted, but it can be left.
        token = SyncCall.run(self._current_token, leave, timeout)
        if inspect.isawaitable(token):
            if inspect.iscoroutine(token):
                token.close()
            raise InvalidOptionError(
                "token= returns an awaitable, which AsyncQAClient alone can wait for: pass a "
                "function that returns the token itself."
            )
        return self._with_token(token)

    def _current_token(self) -> object:
        assert callable(self.token)
        try:
            return self.token()
        except BertQAError:
            raise
        # Nothing is awaited here: what was cancelled is not this task, but one of token=.
        except (Exception, asyncio.CancelledError) as error:
            raise _no_token(error) from error

    def _with_token(self, token: object) -> dict[str, str]:
        bearer = {} if self.token is None else {_AUTHORIZATION: f"Bearer {checked_token(token)}"}
        headers = {**self.headers, **bearer, **CALL_HEADERS.get()}
        check_size(headers)
        return headers

    def check_fits(self, *addresses: Address) -> None:
        """Check that nothing that was asked for would be ignored, or readable on the way.

        Args:
            *addresses: The addresses that are called.

        Raises:
            InvalidOptionError: TLS is asked for at addresses that are not encrypted, or a token for
                one that is not, and not on this machine.
        """
        first = addresses[0]
        if self.tls is not None and not any(each.is_secure for each in addresses):
            raise InvalidOptionError(
                f"The options of TLS do not fit {first}, which is not encrypted: write "
                f"{first.encrypted}, or leave them out."
            )
        for each in addresses if self.token is not None else ():
            if not (each.is_secure or each.is_local):
                raise InvalidOptionError(
                    f"The token could be read on its way to {each}, which is not encrypted: write "
                    f"{each.encrypted}. Where something else encrypts the way, such as a service "
                    "mesh, pass the header Authorization itself."
                )

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC channel; see `TLS.grpc_credentials`."""
        return (self.tls or TLS()).grpc_credentials()

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP client; see `TLS.ssl_context`."""
        return (self.tls or TLS()).ssl_context()


def _late_token(seconds: float) -> BertQAError:
    """Return the error for a token that did not come in time."""
    return DeadlineExceededError(
        f"There is no token to send: token= returned none within {max(seconds, 0.0):.3g} s. What "
        "it asks for one may be away, or pass a greater timeout=."
    )


def _no_token(error: BaseException) -> BertQAError:
    """Return the error for a token that could not be had."""
    return AccessDeniedError(
        f"There is no token to send: token= raised {type(error).__name__}: {error}.",
        detail=str(error),
    )
