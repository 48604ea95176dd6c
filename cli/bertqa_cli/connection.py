"""The options of a connection to a server, which all verbs that ask one have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from bertqa import TLS, QAClient
from bertqa.errors import TokenizerError
from bertqa.transport import (
    AsyncTransport,
    Security,
    ServedVersion,
    Token,
    Transport,
    TransportOptions,
    open_async_transport,
    open_transport,
    served_versions,
)
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.options import DEFAULT_MODEL
from bertqa_cli.progress import working
from bertqa_cli.token_file import TokenFile
from bertqa_cli.values import Lines, model_name, precedence, refuse_typed, timeout_seconds

DEFAULT_URL = "localhost:9000"
# What the names of the variables for a connection begin with.
VARIABLES = "BERTQA_"

_CONNECTION = "Connection"
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def _connection_option(help_: str, variable: str, **arguments: Any) -> Any:
    """Return an option for the connection to a server, which a variable may hold as well."""
    return typer.Option(
        help=help_, envvar=f"{VARIABLES}{variable}", rich_help_panel=_CONNECTION, **arguments
    )


def _file_option(help_: str, variable: str) -> Any:
    """Return such an option that names a file, which has to be there."""
    return _connection_option(help_, variable, exists=True, dir_okay=False, readable=True)


_Url = Annotated[
    str | None,
    _connection_option(
        "The server: host:port, grpc://, grpcs://, dns:///, dnss:///, http:// or https://.", "URL"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How to reach a server, and how to prove the right to: the same for every verb.

    What is typed takes precedence over the environment.

    Raises:
        InvalidOptionError: A file or the token is not one that can be used.
        CommandError: Options exclude each other, or a header is not one that can be sent.
    """

    url: _Url = None
    metadata_url: Annotated[
        str | None,
        _connection_option(
            "The server's REST address, if it is not the gRPC port less 1000.", "METADATA_URL"
        ),
    ] = None
    model: Annotated[
        str,
        typer.Option(callback=model_name, help="The model's name.", rich_help_panel=_CONNECTION),
    ] = DEFAULT_MODEL
    ca: Annotated[
        Path | None,
        _file_option("A PEM file with the certificates to trust, in place of the system's.", "CA"),
    ] = None
    certificate: Annotated[
        Path | None,
        _file_option(
            "A PEM file with the client's own certificate, for mutual TLS.", "CERTIFICATE"
        ),
    ] = None
    key: Annotated[
        Path | None, _file_option("A PEM file with the key of that certificate.", "KEY")
    ] = None
    server_name: Annotated[
        str | None,
        _connection_option(
            "The name in the server's certificate, if it is not that of the address.",
            "SERVER_NAME",
        ),
    ] = None
    token: Annotated[
        str | None,
        _connection_option(
            "A bearer token. The environment variable keeps it out of the process list.", "TOKEN"
        ),
    ] = field(default=None, repr=False)
    token_file: Annotated[
        Path | None,
        _file_option("A file with the bearer token, read again for each request.", "TOKEN_FILE"),
    ] = None
    header: Annotated[
        list[str] | None,
        _connection_option(
            "A header to send with each request; repeatable, in the variable one a line.",
            "HEADER",
            click_type=Lines("NAME=VALUE"),
            metavar="NAME=VALUE",
        ),
    ] = field(default=None, repr=False)
    timeout: Annotated[
        float,
        _connection_option(
            "How long to wait for an answer, as in 5, 90s or 2m; 30s if left out.",
            "TIMEOUT",
            parser=timeout_seconds,
            metavar="DURATION",
            show_default=False,
        ),
    ] = 30.0

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            # The one that was typed goes before one of the environment, and that before a file's.
            both = sorted(("token", "token_file"), key=precedence)
            if precedence(both[0]) == precedence(both[1]):
                raise CommandError(
                    f"Pass --token or --token-file ({VARIABLES}TOKEN or {VARIABLES}TOKEN_FILE), "
                    "and not both.",
                    status=Status.USAGE,
                )
            object.__setattr__(self, both[1], None)
        # It checks what it is made from: a mistake is reported before any work.
        self.security()

    def refuse(self, reason: str) -> None:
        """Refuse what was typed for a connection, where it would be ignored.

        Args:
            reason: Why, as the end of a sentence whose subject is the options.

        Raises:
            CommandError: One was typed.
        """
        refuse_typed({each.name for each in fields(self)} - {"model"}, reason)

    @property
    def address(self) -> str:
        """The server's address: the one on this machine where none is named."""
        return self.url or DEFAULT_URL

    def tls(self) -> TLS | None:
        """Return the TLS files, None where no option names one: any other TLS needs its address."""
        tls = TLS(
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            server_name=self.server_name,
        )
        return None if tls == TLS() else tls

    def bearer(self) -> Token | None:
        """Return the token, or what reads it."""
        return self.token if self.token_file is None else TokenFile(self.token_file)

    def headers(self) -> dict[str, str]:
        """Return the headers by name."""
        headers: dict[str, str] = {}
        for number, text in enumerate(self.header or (), start=1):
            name, equals, value = text.partition("=")
            name, value = name.strip(), value.strip()
            if not (equals and _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
                # The value may be a secret, so that it is not shown.
                raise CommandError(
                    f"The value of --header number {number} cannot be read: write NAME=VALUE, in "
                    "printable ASCII.",
                    status=Status.USAGE,
                )
            if name.lower() in map(str.lower, headers):
                raise CommandError(f"--header {name} is given twice.", status=Status.USAGE)
            headers[name] = value
        return headers

    def security(self) -> Security:
        """Return what a transport or the admin client takes for the connection."""
        return Security.of(self.tls(), self.bearer(), self.headers())

    def client_arguments(self) -> dict[str, Any]:
        """Return what a client of either kind takes for the connection."""
        return {
            "url": self.address,
            "model": self.model,
            "timeout": self.timeout,
            "metadata_url": self.metadata_url,
            "tls": self.tls(),
            "token": self.bearer(),
            "headers": self.headers(),
        }

    @contextmanager
    def open_client(
        self, *, version: int | None = None, tokenizer: str | None = None
    ) -> Iterator[QAClient]:
        """Open a client for the block.

        Args:
            version: The version to ask; None is the server's default.
            tokenizer: A tokenizer file, directory or hub id in place of the model's own.

        Yields:
            The client.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
            CommandError: The tokenizer cannot be read.
        """
        try:
            client = QAClient(**self.client_arguments(), version=version, tokenizer=tokenizer)
        except TokenizerError as error:  # That of --tokenizer: the model's own is read later.
            raise CommandError(str(error), status=Status.USAGE, detail=error.detail) from error
        with ExitStack() as opened:
            opened.enter_context(client)
            try:
                yield client
            except KeyboardInterrupt:
                opened.pop_all()  # Closing waits for what the server has not answered.
                raise

    def served_versions(self) -> list[ServedVersion]:
        """Return the versions of the model that the server at `address` knows.

        Raises:
            BertQAError: What `bertqa.transport.served_versions` raises.
        """
        with working(f"Asking {self.address}"):
            return served_versions(
                self.address,
                self.model,
                metadata_url=self.metadata_url,
                timeout=self.timeout,
                security=self.security(),
            )

    def open_transport(self) -> Transport:
        """Return an open transport without a client.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
        """
        return open_transport(self.address, self._transport_options())

    def open_async_transport(self) -> AsyncTransport:
        """Return the asynchronous twin of it.

        Raises:
            InvalidOptionError: An address, a file or a value is not valid.
        """
        return open_async_transport(self.address, self._transport_options())

    def _transport_options(self) -> TransportOptions:
        return {
            "model": self.model,
            "metadata_url": self.metadata_url,
            "learns": True,
            "security": self.security(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultConnectionOptions(ConnectionOptions):
    """The same, for verbs that always ask a server."""

    url: _Url = DEFAULT_URL
