"""The server that a bench asks: one that runs, or one that is started for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import Repository
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.options import require_repository
from bertqa_cli.values import refuse_typed

OwnRepository = Annotated[
    Path | None,
    typer.Option(
        "--repository",
        metavar="DIR",
        help="Start a server on this model repository for it, with OVMS if it is there, in the "
        "place of asking one that runs.",
        show_default=False,
    ),
]
_RUNNING = "for a server that runs, and --repository starts one."
_CONNECTION = {
    *("url", "metadata_url", "ca", "certificate", "key", "server_name", "token", "token_file"),
    *("header", "http_api"),
}


@contextmanager
def asked_server(
    connection: ConnectionOptions,
    repository: Path | None,
    versions: Sequence[int | None],
    on_progress: OnProgress,
) -> Iterator[tuple[dict[str, Any], str]]:
    """Have a server to ask while the block runs.

    Args:
        connection: How to reach one that runs.
        repository: The repository to start one on instead, which is read only.
        versions: The versions that are asked, None for the highest.
        on_progress: Called where one is started.

    Yields:
        What a client takes for the connection, and what the server is called.

    Raises:
        CommandError: There is no such repository, or options are for a server that runs.
        ServeError: The server cannot be started.
        RepositoryError: There is no such version.
    """
    arguments = connection.client_arguments()
    if repository is None:
        yield arguments, connection.address
        return
    refuse_typed(_CONNECTION, _RUNNING)
    place = Repository(repository)
    require_repository(place)
    from bertqa_serve.laboratory import engine_that_is_tuned, properties_of, server_beside

    engine = engine_that_is_tuned()
    newest = place.latest_version(connection.model)
    served = sorted({newest if each is None else each for each in versions})
    on_progress(Progress(f"Starting {engine.kind} on {repository}"))
    with server_beside(
        repository,
        engine.kind,
        served,
        connection.model,
        properties=properties_of(place, connection.model),
        on_progress=on_progress,
    ) as server:
        own = {"url": server.grpc_url, "metadata_url": server.rest_url}
        yield {**arguments, **own}, f"{repository} ({engine.kind})"
