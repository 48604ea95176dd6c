"""The options of the HTTP API, which `bert-qa serve` and `bert-qa serve http-api` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.markup import escape

from bertqa.artifact import LOG_LEVELS
from bertqa_cli.connection import VARIABLES
from bertqa_cli.console import stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.token_file import TokenFile
from bertqa_cli.values import Decimal, Lines, Whole, appended_file, timeout_seconds

if TYPE_CHECKING:
    from bertqa_serve.http_api import HttpApiOptions
    from bertqa_serve.tuned import TunedSettings

_PANEL = "HTTP API"
_MEGABYTE = 1024 * 1024
# TRACE is one of OVMS alone.
_LEVELS = tuple(each for each in LOG_LEVELS if each != "TRACE")


def _option(help_: str, variable: str | None = None, *names: str, **arguments: Any) -> Any:
    envvar = None if variable is None else f"{VARIABLES}{variable}"
    return typer.Option(*names, help=help_, envvar=envvar, rich_help_panel=_PANEL, **arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpApiFlags:
    """How the HTTP API is run.

    Raises:
        InvalidOptionError: The token file cannot be used.
        CommandError: Options exclude each other.
    """

    http_host: Annotated[
        str | None,
        _option(
            "The address that the HTTP API listens on; if left out, that of the server beside it, "
            "or else 127.0.0.1.",
            show_default=False,
        ),
    ] = None
    http_port: Annotated[
        int | None,
        _option(
            "The port of the HTTP API; 8080 if left out, or the next one that is free.",
            click_type=Whole(min=1, max=65535),
            metavar="N",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int,
        _option("Processes of the HTTP API.", click_type=Whole(min=1, max=256), metavar="N"),
    ] = 1
    queue: Annotated[
        int,
        _option(
            "Requests that a process answers or has wait at once; more get 503.",
            click_type=Whole(min=1),
            metavar="N",
        ),
    ] = 1024
    body_limit: Annotated[
        int,
        _option("The longest body, in MB.", click_type=Whole(min=1, max=1024), metavar="N"),
    ] = 16
    api_token: Annotated[
        str | None,
        _option(
            "A bearer token that requests have to bring. The environment variable keeps it out of "
            "the process list.",
            "API_TOKEN",
        ),
    ] = field(default=None, repr=False)
    api_token_file: Annotated[
        Path | None,
        _option(
            "A file with that token, read again for each request.",
            "API_TOKEN_FILE",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None
    models: Annotated[
        list[str] | None,
        _option(
            "Further models on the server that a request may name, as in 'customer-*'; repeatable. "
            "--model answers where none is named.",
            click_type=Lines("PATTERN"),
            metavar="PATTERN",
        ),
    ] = None
    cors_origin: Annotated[
        list[str] | None,
        _option(
            "A web origin whose pages may ask, such as https://app.example.com, or *; repeatable.",
            "CORS_ORIGIN",
            click_type=Lines("ORIGIN"),
            metavar="ORIGIN",
        ),
    ] = None
    shadow: Annotated[
        int | None,
        _option(
            "A version that gets a copy of each question; its answers go into --record.",
            click_type=Whole(min=1),
            metavar="N",
        ),
    ] = None
    record: Annotated[
        Path | None,
        _option(
            "Append a line for each answer to this file.", dir_okay=False, callback=appended_file
        ),
    ] = None
    record_share: Annotated[
        float,
        _option(
            "The share of questions that are recorded.",
            click_type=Decimal(min=0, max=1),
            metavar="X",
        ),
    ] = 1.0
    record_texts: Annotated[
        bool,
        _option(
            "Record questions, contexts and answers as they are, in place of hashes.",
            None,
            "--record-texts",
        ),
    ] = False
    token_budget: Annotated[
        int | None,
        _option(
            "Tokens, padding included, that go into one request to the server; 2048 if left out.",
            click_type=Whole(min=1, max=2**31 - 1),
            metavar="N",
            show_default=False,
        ),
    ] = None
    drain: Annotated[
        float,
        _option(
            "How long requests in flight may take at the end; 30s if left out.",
            parser=timeout_seconds,
            metavar="DURATION",
            show_default=False,
        ),
    ] = 30.0
    http_log_level: Annotated[
        str,
        _option(
            "What the HTTP API logs: INFO has each request.",
            click_type=click.Choice(_LEVELS, case_sensitive=False),
            metavar="LEVEL",
        ),
    ] = "INFO"

    def __post_init__(self) -> None:
        if self.api_token is not None and self.api_token_file is not None:
            raise CommandError(
                f"Pass --api-token or --api-token-file ({VARIABLES}API_TOKEN or "
                f"{VARIABLES}API_TOKEN_FILE), and not both.",
                status=Status.USAGE,
            )
        if self.shadow is not None and self.record is None:
            raise CommandError(
                "--shadow needs --record, the file for what it answers.", status=Status.USAGE
            )
        if self.record is None and (self.record_texts or self.record_share != 1.0):
            option = "--record-texts" if self.record_texts else "--record-share"
            raise CommandError(
                f"{option} needs --record, the file for what is recorded.", status=Status.USAGE
            )

    def tuned_by(self, measured: TunedSettings) -> HttpApiFlags:
        """Return the same with what was measured where nothing was named.

        Args:
            measured: What was measured.
        """
        if self.token_budget is not None:
            return self
        return replace(self, token_budget=measured.token_budget)

    def check(self, host: str) -> None:
        """Check what `bert-qa serve` can check before it starts a server for the HTTP API.

        Args:
            host: The address to listen on, where none was named.

        Raises:
            InvalidOptionError: A value is not valid.
            PortInUseError: Another process listens on the port.
        """
        from bertqa_serve.errors import PortInUseError
        from bertqa_serve.http_api.connections import listener

        options = self.options({}, host)
        try:
            listener(options.host, options.port).close()
        except PortInUseError as error:
            raise PortInUseError(
                f"{error} --http-host and --http-port name them; --no-http-api leaves the HTTP API "
                "out.",
                detail=error.detail,
            ) from error

    def options(self, client: Mapping[str, Any], host: str = "127.0.0.1") -> HttpApiOptions:
        """Return the options of the HTTP API.

        Args:
            client: The arguments of the client that answers.
            host: The address to listen on, where none was named.

        Raises:
            InvalidOptionError: A value is not valid.
        """
        from bertqa_serve.http_api import HttpApiOptions, Recording

        recording = None
        if self.record is not None:
            recording = Recording(
                path=self.record.absolute(), sample=self.record_share, texts=self.record_texts
            )
        token = self.api_token
        given = {} if self.token_budget is None else {"token_budget": self.token_budget}
        return HttpApiOptions(
            client={**client, "shadow": self.shadow, **given},
            host=self.http_host or host,
            port=self.http_port,
            workers=self.workers,
            places=self.queue,
            body_bytes=self.body_limit * _MEGABYTE,
            token=token if self.api_token_file is None else TokenFile(self.api_token_file),
            models=tuple(self.models or ()),
            origins=tuple(self.cors_origin or ()),
            recording=recording,
            log_level=self.http_log_level.upper(),
            drain_seconds=self.drain,
        )


def print_ready(address: str) -> None:
    """Print where to ask.

    Args:
        address: The address of the HTTP API.
    """
    stdout.print(f"Ask in a browser: [bold]{escape(address)}[/] (HTTP API; {escape(address)}/docs)")
