"""`bert-qa pull`: bring a version from a registry of models into the repository."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from bertqa.artifact import Repository, SigningKey, VerifyKey
from bertqa_cli.console import print_json, stdout
from bertqa_cli.formatting import next_step
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Destination, Json
from bertqa_cli.progress import resumable, stages
from bertqa_cli.signatures import Sign, VerifyWith, read_key
from bertqa_cli.values import built_name
from bertqa_cli.verb import alone


def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="hf://org/name, maybe with @revision behind it, mlflow://name, maybe with "
            "/version, or a directory that `bert-qa publish --layout hub` wrote.",
        ),
    ],
    repository: Destination = DEFAULT_REPOSITORY,
    model: Annotated[
        str, typer.Option(callback=built_name, help="The name to publish and serve it under.")
    ] = DEFAULT_MODEL,
    force: Annotated[
        bool, typer.Option("--force", help="Take even a version that failed the quality gate.")
    ] = False,
    sign: Sign = None,
    verify_with: VerifyWith = None,
    json: Json = False,
) -> None:
    """Publish a version of a registry in the repository, its files checked by their digests."""
    from bertqa_deploy.registries.pulling import pull as pull_version
    from bertqa_deploy.storage.address import Address

    address = Address.parse(source)
    key, verifier = read_key(SigningKey, sign), read_key(VerifyKey, verify_with)
    with resumable(), stages() as show:
        pulled = pull_version(
            Repository(repository),
            address,
            model,
            force=force,
            sign=key,
            verify=verifier,
            on_progress=show,
        )
    if json:
        print_json(pulled.to_dict())
        return
    number = f"version {pulled.version} of {escape(model)}"
    if pulled.present:
        stdout.print(f"[bold]It is there already, as {number}.[/]")
    else:
        stdout.print(
            f"[bold]{escape(pulled.origin)} is {number}[/], in {pulled.precision}. Each file "
            f"matches its manifest. {pulled.seconds:.1f} s. "
            f"{escape(next_step(repository, model, pulled.version))}"
        )


app = alone(pull)
