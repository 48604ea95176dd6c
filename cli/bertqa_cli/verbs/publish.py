"""`bert-qa publish`: copy a published version to a store, a directory or a registry of models."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from bertqa._words import counted
from bertqa.artifact import Repository, SigningKey, VerifyKey
from bertqa_cli.console import print_json, stdout
from bertqa_cli.formatting import human_size
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Json, Model
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import resumable, stages
from bertqa_cli.signatures import Sign, VerifyWith, read_key
from bertqa_cli.values import Whole
from bertqa_cli.verb import alone
from bertqa_deploy.storage.address import Address, Layout


def publish(
    to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="az://container/path, s3://bucket/path, gs://..., or a directory, for servers; "
            "hf://org/name[@branch] or mlflow://name, for other tools.",
        ),
    ],
    version: Annotated[
        int | None,
        typer.Argument(
            click_type=Whole(min=1), metavar="N", help="The version; the latest if left out."
        ),
    ] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    layout: Annotated[
        Layout,
        typer.Option(
            help="How the files lie in a directory: for OVMS, or as on the Hugging Face hub, so "
            "that Optimum and ONNX Runtime load them."
        ),
    ] = Layout.REPOSITORY,
    public: Annotated[
        bool,
        typer.Option("--public", help="Let everybody read a new model of the Hugging Face hub."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even a version that failed the quality gate.")
    ] = False,
    sign: Sign = None,
    verify_with: VerifyWith = None,
    json: Json = False,
) -> None:
    """Copy a version to where others read it, whole or not at all; run it again to resume."""
    from bertqa_deploy.storage.publishing import publish as publish_version

    key, verifier = read_key(SigningKey, sign), read_key(VerifyKey, verify_with)
    address, source = Address.parse(to), Repository(repository)
    chosen = source.latest_version(model) if version is None else version
    with resumable(), stages() as show:
        published = publish_version(
            source,
            chosen,
            address,
            model,
            force=force,
            layout=layout,
            public=public,
            sign=key,
            verify=verifier,
            on_progress=show,
        )
    if json:
        print_json(published.to_dict())
        return
    sent = [file for file in published.files if file.sent]
    size = human_size(sum(file.size for file in sent))
    there = len(published.files) - len(sent)
    if not sent:
        summary = f"all {there} files were there already, and are the same: nothing was sent."
    elif there:
        was = "was" if there == 1 else "were"
        summary = f"{counted(len(sent), 'file')} sent ({size}), {there} {was} there already."
    else:
        summary = f"{counted(len(sent), 'file')} sent ({size})."
    stdout.print(
        f"[bold]Version {chosen} of {escape(model)} is at {escape(published.to)}[/]: {summary} "
        f"{escape(published.note)} {published.seconds:.1f} s."
    )


app = alone(publish)
