"""`bert-qa evaluate`: a version's exact match and F1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa import QAClient
from bertqa.evaluation import evaluate as evaluate_version
from bertqa.evaluation import read_squad
from bertqa_cli.console import print_json, stdout
from bertqa_cli.options import (
    DEFAULT_MODEL,
    DEFAULT_REPOSITORY,
    Json,
    MetadataUrl,
    Model,
    OptionalUrl,
    Version,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import stages
from bertqa_cli.published import published_engine


def evaluate(
    data: Annotated[Path, typer.Option(help="Questions: a SQuAD 1.1 or 2.0 JSON file.")],
    version: Version = None,
    url: OptionalUrl = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    metadata_url: MetadataUrl = None,
    json: Json = False,
) -> None:
    """Score a published version or, with --url, a served one."""
    dataset = read_squad(data)
    with (
        _client(url, metadata_url, repository, model, version) as (client, asked),
        stages() as show,
    ):
        scores = evaluate_version(
            client,
            dataset,
            version=version,
            on_progress=lambda done, total: show(f"Evaluating {asked}", done, total, ""),
        )
    if json:
        print_json(scores.to_dict())
        return
    table = Table("questions", "exact match", "F1", title=escape(f"{asked} on {dataset.name}"))
    table.add_row(str(scores.questions), f"{scores.exact_match:.2f}", f"{scores.f1:.2f}")
    if scores.answerable_f1 is not None and scores.unanswerable is not None:
        unanswerable = f"{scores.unanswerable:.2f}"
        table.add_row(
            "answerable", f"{scores.answerable_exact_match:.2f}", f"{scores.answerable_f1:.2f}"
        )
        table.add_row("unanswerable", unanswerable, unanswerable)
    stdout.print(table)


@contextmanager
def _client(
    url: str | None, metadata_url: str | None, root: Path, model: str, version: int | None
) -> Iterator[tuple[QAClient, str]]:
    """Return a client of a served or a published version, and what to call that version."""
    if url is not None:
        with QAClient(url, model=model, metadata_url=metadata_url) as client:
            yield client, f"version {version or 'default'} at {url}"
        return
    engine = published_engine(root, model, version)
    with QAClient(transport=engine) as client:
        yield client, f"version {engine.version}"
