"""`bert-qa versions`: what is published, and what a server serves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from bertqa.artifact import Repository
from bertqa.errors import RepositoryError
from bertqa.transport import ServedVersion, served_versions
from bertqa_cli.console import print_json, stdout
from bertqa_cli.errors import CommandError
from bertqa_cli.formatting import directory_size, human_size, minute, score
from bertqa_cli.options import (
    DEFAULT_NAMESPACE,
    DEFAULT_REPOSITORY,
    ConnectionOptions,
    Json,
    Namespace,
    Release,
    grouped_options,
    helm_of,
)
from bertqa_cli.options import Repository as RepositoryOption


@grouped_options
def versions(
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """List published versions, those that a server knows (--url), or a release's tracks."""
    model = connection.model
    if release is not None:
        _tracks(release, namespace, json=json)
    elif connection.url is None:
        _published(Repository(repository), model, json=json)
    else:
        served = served_versions(
            connection.url,
            model,
            metadata_url=connection.metadata_url,
            timeout=connection.timeout,
            security=connection.security(),
        )
        _served(served, Repository(repository), model, json=json)


def _published(repository: Repository, model: str, *, json: bool) -> None:
    if not repository.root.is_dir():
        raise CommandError(
            f"There is no model repository {repository.root}. `bert-qa build` makes one."
        )
    versions = repository.versions(model)
    served = _configured(repository, model, versions)
    rows: list[dict[str, Any]] = [
        repository.manifest(version, model).to_dict()
        | {
            "state": "served" if version in served else "not served",
            "is_default": version == max(served, default=None),
            "size": directory_size(repository.version_dir(version, model)),
        }
        for version in versions
    ]
    if json:
        print_json(rows)
        return
    if not rows:
        stdout.print(f"{repository.root} has no version of {model} yet.")
        return
    table = _version_table()
    for row in rows:
        scores = row.get("scores") or {}
        parent = f"version {row['parent']}" if row.get("parent") else row["source"]
        table.add_row(
            str(row["version"]),
            row["state"],
            "yes" if row["is_default"] else "",
            row["precision"],
            score(scores.get("exact_match")),
            score(scores.get("f1")),
            human_size(row["size"]),
            minute(row["published"]),
            parent,
        )
    stdout.print(table)


def _configured(repository: Repository, model: str, versions: list[int]) -> list[int]:
    """Return those versions that OVMS would serve by the repository's `config.json`.

    Where there is none, all of them: `bert-qa serve` writes one that says so.
    """
    from bertqa.artifact import VersionPolicy
    from bertqa.errors import ConfigError
    from bertqa_deploy.config_file import ConfigFile

    if not repository.config_path.exists():
        return versions
    config = ConfigFile(repository.config_path)
    if not config.has(model):
        return []
    try:
        return VersionPolicy.parse(config.entry(model).get("model_version_policy")).choose(versions)
    except ConfigError as error:
        raise CommandError(f"{repository.config_path}: {error}") from error


def _served(served: list[ServedVersion], repository: Repository, model: str, *, json: bool) -> None:
    published = [_published_as(version, repository, model) for version in served]
    if json:
        print_json([asdict(one) | other for one, other in zip(served, published, strict=True)])
        return
    table = _version_table()
    for version, known in zip(served, published, strict=True):
        table.add_row(
            str(version.version),
            version.state if version.error is None else f"{version.state} ({version.error})",
            "yes" if version.is_default else "",
            version.precision,
            score(version.exact_match),
            score(version.f1),
            human_size(known["size"]) if known["size"] else "",
            minute(known["published"]),
            version.source,
        )
    stdout.print(table)


def _published_as(served: ServedVersion, repository: Repository, model: str) -> dict[str, Any]:
    """Return what no server reports, from the repository, if that has the served version."""
    unknown: dict[str, Any] = {"size": None, "published": None}
    try:
        manifest = repository.manifest(served.version, model)
    except RepositoryError:
        return unknown
    if (manifest.precision, manifest.source) != (served.precision, served.source):
        return unknown
    size = directory_size(repository.version_dir(served.version, model))
    return {"size": size, "published": manifest.published}


def _tracks(release: str, namespace: str, *, json: bool) -> None:
    helm = helm_of(release, namespace)

    from bertqa_deploy.cluster.status import track_statuses

    statuses = track_statuses(helm)
    if json:
        print_json([asdict(each) for each in statuses])
        return
    table = Table("track", "version", "weight", "ready", "pods")
    for each in statuses:
        names = ", ".join(pod.name if pod.ready else f"{pod.name} (not ready)" for pod in each.pods)
        ready = f"{each.ready} of {len(each.pods)}"
        table.add_row(each.track, each.version, f"{each.weight} %", ready, names)
    stdout.print(table)


def _version_table() -> Table:
    table = Table("version", "state", "default", "precision", "exact match", "F1")
    for column in ("size", "published", "made from"):
        table.add_column(column)
    return table
