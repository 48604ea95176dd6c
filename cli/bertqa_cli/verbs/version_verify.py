"""`bert-qa versions verify`: whether versions are those that the owner of a key signed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from bertqa.artifact import Repository, VerifyKey, onnx_model_name, require_signed
from bertqa.errors import InvalidOptionError
from bertqa_cli.console import print_json, stdout
from bertqa_cli.options import (
    DEFAULT_MODEL,
    DEFAULT_REPOSITORY,
    Json,
    Model,
    require_repository,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import working
from bertqa_cli.values import Whole


def verify(
    key: Annotated[
        Path,
        typer.Option(
            "--verify-key",
            metavar="PUBLIC",
            exists=True,
            dir_okay=False,
            help="A PEM file with the public key of those who signed.",
        ),
    ],
    numbers: Annotated[
        list[int] | None,
        typer.Argument(
            click_type=Whole(min=1), metavar="[N]...", help="Versions; the latest if left out."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All versions, as one that loads may be an older one.")
    ] = False,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    json: Json = False,
) -> None:
    """Refuse versions that a key did not sign, or that were changed since, with exit status 1.

    The signature is that of the manifest, and each file is compared with its digest in there; an
    ONNX twin is verified too.
    """
    verifier, versions = VerifyKey(key), Repository(repository)
    require_repository(versions)
    if every and numbers:
        raise InvalidOptionError("--all names all versions: leave out the numbers, or --all.")
    chosen = versions.versions(model) if every else sorted(set(numbers or ()))
    chosen = chosen or [versions.latest_version(model)]
    verified = []
    with working("Reading the files"):
        for number in chosen:
            versions.require_version(number, model)
            for name in (model, onnx_model_name(model)):
                directory = versions.version_dir(number, name)
                if directory.is_dir():
                    require_signed(directory, verifier)
                    verified.append(directory)
    if json:
        print_json({"verified": [str(each) for each in verified], "key": str(key)})
        return
    for each in verified:
        stdout.print(
            f"{escape(str(each))} is signed by the key of {escape(str(key))}, with all its files."
        )
