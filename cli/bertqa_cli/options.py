"""Options that several verbs share, so that one word means one thing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertqa.artifact import MODEL_NAME

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Model = Annotated[str, typer.Option(help="The model's name on the server.")]
Repository = Annotated[Path, typer.Option(help="The model repository, in OVMS's layout.")]
Url = Annotated[
    str,
    typer.Option(help="The server: host:port or grpc://, grpcs://, http://, https://."),
]
OptionalUrl = Annotated[
    str | None,
    typer.Option(help="A server: host:port or grpc://, grpcs://, http://, https://."),
]
MetadataUrl = Annotated[
    str | None,
    typer.Option(help="The server's REST address, where it is not the gRPC port less 1000."),
]
Version = Annotated[
    int | None, typer.Option(min=1, help="The model version; the server's default if left out.")
]
Authority = Annotated[
    Path | None,
    typer.Option("--ca", help="A PEM file with the certificates to trust, not the system's."),
]
Certificate = Annotated[
    Path | None, typer.Option(help="A PEM file with your own certificate, for mutual TLS.")
]
Key = Annotated[Path | None, typer.Option(help="A PEM file with your certificate's key.")]

DEFAULT_REPOSITORY = Path("model_repository")
DEFAULT_URL = "localhost:9000"
DEFAULT_MODEL = MODEL_NAME
