"""`bert-qa evaluate`: a version's exact match and F1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from rich.table import Table

from bertqa import QAClient
from bertqa.artifact import Repository
from bertqa.evaluation import evaluate as evaluate_version
from bertqa_cli.chosen import scoring_client
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, print_table
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import DEFAULT_REPOSITORY, Json, Version
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import stages, working
from bertqa_cli.values import FOR_URL, refuse_typed
from bertqa_cli.verb import alone


@grouped_options
def evaluate(
    data: Annotated[str, data_option("Questions")],
    version: Version = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Score a published version or, with --url, a served one."""
    if connection.url is None:
        connection.refuse(FOR_URL)
    else:
        refuse_typed({"repository"}, "for a published version, and --url names a server.")
    dataset = read_dataset(data)
    with (
        _client(connection, repository, version) as (client, name),
        stages() as show,
    ):
        scores = evaluate_version(
            client,
            dataset,
            version=version,
            on_progress=lambda each: show(replace(each, stage=f"Evaluating {name}")),
        )
    if json:
        print_json(scores.to_dict())
        return
    table = Table("questions", "exact match", "F1", title=escape(f"{name} on {dataset.name}"))
    table.add_row(str(scores.questions), f"{scores.exact_match:.2f}", f"{scores.f1:.2f}")
    if scores.answerable_f1 is not None and scores.unanswerable is not None:
        unanswerable = f"{scores.unanswerable:.2f}"
        table.add_row(
            "answerable", f"{scores.answerable_exact_match:.2f}", f"{scores.answerable_f1:.2f}"
        )
        table.add_row("unanswerable", unanswerable, unanswerable)
    print_table(table)


@contextmanager
def _client(
    connection: ConnectionOptions, root: Path, version: int | None
) -> Iterator[tuple[QAClient, str]]:
    """Return a client of a served or a published version, and what to call that version."""
    if connection.url is not None:
        with connection.open_client() as client:
            name = "the default version" if version is None else f"version {version}"
            yield client, f"{name} at {connection.url}"
        return
    published = Repository(root)
    chosen = published.latest_version(connection.model) if version is None else version
    directory = published.require_version(chosen, connection.model)
    with working(f"Loading version {chosen}"):
        client = scoring_client(directory)
    with client:
        yield client, f"version {chosen}"


app = alone(evaluate)
