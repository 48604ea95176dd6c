"""`bert-qa serve http-api`: the HTTP API alone, in front of a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bertqa_cli.connection import DEFAULT_URL, DefaultConnectionOptions
from bertqa_cli.console import print_json, print_step
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.http_api import HttpApiFlags, print_ready
from bertqa_cli.options import Json, Version

_Tracks = Annotated[
    Path | None,
    typer.Option(
        help="A JSON file with servers of one version each and their weights, in place of --url. "
        "It is read again where it changes.",
        dir_okay=False,
    ),
]


@grouped_options
def serve_http_api(
    version: Version = None,
    tracks: _Tracks = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of `bert-qa bench tune`, for --token-budget where that is not named.",
        ),
    ] = None,
    *,
    connection: DefaultConnectionOptions,
    http: HttpApiFlags,
    json: Json = False,
) -> None:
    """Answer questions in text over HTTP, in front of any OVMS, until interrupted.

    It follows the split of the traffic that `bert-qa switch` sets, or that of --tracks, unless
    --version names one.
    """
    if tracks is not None:
        named = {
            "--version": version is not None,
            "--url": connection.url != DEFAULT_URL,
            "--metadata-url": connection.metadata_url is not None,
            "--shadow": http.shadow is not None,
        }
        for option in (option for option, is_named in named.items() if is_named):
            raise CommandError(
                f"Pass --tracks or {option}, and not both: the file names the servers.",
                status=Status.USAGE,
            )
    from bertqa_serve.http_api import read_tracks
    from bertqa_serve.http_api import serve_http_api as serve
    from bertqa_serve.tuned import TunedSettings, read_tuned

    if tuned is not None:
        budget = None if http.token_budget else read_tuned(tuned).token_budget
        measured = TunedSettings(token_budget=budget)
        print_step(f"from {tuned}: {measured}")
        http = http.tuned_by(measured)
    if tracks is not None:
        read_tracks(tracks)
    else:
        connection.open_transport().close()  # What cannot be used is refused here, not in a log.

    traffic = "auto" if version is None else None
    client = {**connection.client_arguments(), "version": version, "traffic": traffic}

    def on_ready(address: str) -> None:
        print_json({"http_url": address}) if json else print_ready(address)

    serve(replace(http.options(client), tracks=tracks), on_ready=on_ready)
