"""`bert-qa serve http-api`: the HTTP API alone, in front of a server."""

from __future__ import annotations

from bertqa_cli.console import print_json
from bertqa_cli.grouping import grouped_options
from bertqa_cli.http_api import HttpApiFlags, print_ready
from bertqa_cli.options import DefaultConnectionOptions, Json, Version


@grouped_options
def serve_http_api(
    version: Version = None,
    *,
    connection: DefaultConnectionOptions,
    http: HttpApiFlags,
    json: Json = False,
) -> None:
    """Answer questions in text over HTTP, in front of any OVMS, until interrupted.

    It follows the split of the traffic that `bert-qa switch` sets, unless --version names one.
    """
    from bertqa_serve.http_api import serve_http_api as serve

    traffic = "auto" if version is None else None
    client = {**connection.client_arguments(), "version": version, "traffic": traffic}

    def on_ready(address: str) -> None:
        print_json({"http_url": address}) if json else print_ready(address)

    serve(http.options(client), on_ready=on_ready)
