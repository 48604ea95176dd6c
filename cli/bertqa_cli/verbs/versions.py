"""`bert-qa versions`: what is published, and what a server serves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository, VersionEntry, VersionManifest
from bertqa.errors import ProtocolError, RepositoryError
from bertqa.transport import ServedVersion
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.errors import CommandError
from bertqa_cli.formatting import day, directory_size, human_size, score
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import (
    DEFAULT_NAMESPACE,
    DEFAULT_REPOSITORY,
    Json,
    Namespace,
    Release,
    helm_of,
    require_repository,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import working
from bertqa_cli.values import FOR_RELEASE, FOR_SERVER, FOR_URL, refuse_typed
from bertqa_cli.verb import Verb, group
from bertqa_cli.verbs.version_life import delete, diff, show
from bertqa_cli.verbs.version_verify import verify

_SHOWN_MODELS = 5


@grouped_options
def versions(
    context: typer.Context,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """List published versions, those that a server knows (--url), or a release's tracks."""
    if context.invoked_subcommand:
        return
    model = connection.model
    if release is not None:
        connection.refuse(FOR_SERVER)
        _tracks(release, namespace, json=json)
        return
    refuse_typed({"namespace"}, FOR_RELEASE)
    if connection.url is None:
        connection.refuse(FOR_URL)
        _published(Repository(repository), model, json=json)
    else:
        try:
            served = connection.served_versions()
        except ProtocolError as error:
            hint = "The proxy of a release does not pass that on: ask with --release."
            raise CommandError(f"{error} {hint}", detail=error.detail) from error
        _served(served, Repository(repository), model, json=json)


def _published(repository: Repository, model: str, *, json: bool) -> None:
    require_repository(repository)
    entries = repository.entries(model)
    served = _served_of(repository, model)
    default = max(served, default=None)
    models = repository.models()
    if json:
        rows = [_row(entry, served, default) for entry in entries]
        print_json({"versions": rows, "models": models})
        return
    others = [name for name in models if name != model]
    if not entries:
        stdout.print(f"{escape(str(repository.root))} has no version of {escape(model)} yet.")
        _print_others(others)
        return
    table = _version_table()
    for entry in entries:
        state = "served" if entry.number in served else "not served"
        _add(
            table,
            entry.number,
            "default" if entry.number == default else state,
            entry.manifest,
            directory_size(entry.directory),
        )
    print_table(table)
    for entry in entries:
        if _is_forced(entry.manifest):
            _print_forced(entry.number)
        for remark in entry.remarks:
            stdout.print(f"Version {entry.number}: {escape(remark)}")
    _print_others(others)


def _print_others(names: list[str]) -> None:
    """Print which other models the repository has: --model names one, --json has all of them."""
    if names:
        shown = ", ".join(names[:_SHOWN_MODELS]) + (", ..." if names[_SHOWN_MODELS:] else "")
        stdout.print(f"{counted(len(names), 'other model')} (--model): {escape(shown)}")


def _is_forced(manifest: VersionManifest | None) -> bool:
    return bool(manifest and manifest.gate and manifest.gate.forced)


def _print_forced(number: int) -> None:
    stdout.print(f"Version {number}: the gate refused it, and --force published it")


def _row(entry: VersionEntry, served: list[int], default: int | None) -> dict[str, Any]:
    """Return a version for JSON, by the keys that one of a server has, and its manifest."""
    manifest = entry.manifest
    scores = manifest.scores if manifest else None
    return {
        "version": entry.number,
        "state": "served" if entry.number in served else "not served",
        "error": None,
        "is_default": entry.number == default,
        "precision": manifest.precision if manifest else None,
        "source": manifest.source if manifest else None,
        "f1": scores.f1 if scores else None,
        "exact_match": scores.exact_match if scores else None,
        "size": directory_size(entry.directory),
        "published": manifest.published if manifest else None,
        "forced": _is_forced(manifest) if manifest else None,
        "remarks": list(entry.remarks),
        "manifest": manifest.to_dict() if manifest else None,
    }


def _served_of(repository: Repository, model: str) -> list[int]:
    """Return the versions that OVMS serves under the model's name by the `config.json`.

    Where there is none, all of them: `bert-qa serve` writes one that says so.
    """
    if not repository.config_path.exists():
        return repository.versions(model)
    return [number for number, name in repository.configured(model).items() if name == model]


def _served(served: list[ServedVersion], repository: Repository, model: str, *, json: bool) -> None:
    published = [_published_as(version, repository, model) for version in served]
    if json:
        pairs = zip(served, published, strict=True)
        print_json({"versions": [_served_row(one, other) for one, other in pairs]})
        return
    is_here = any(other["published"] for other in published)
    table = _version_table(on_disk=is_here)
    for one, other in zip(served, published, strict=True):
        state = one.state if one.error is None else f"{one.state} ({one.error})"
        on_disk = human_size(other["size"]) if other["size"] else "", day(other["published"])
        table.add_row(
            str(one.version),
            f"{state}, default" if one.is_default else state,
            one.precision,
            score(one.exact_match),
            score(one.f1),
            *(on_disk if is_here else ()),
            one.source,
        )
    print_table(table)
    for one, other in zip(served, published, strict=True):
        if other["forced"]:
            _print_forced(one.version)


def _served_row(one: ServedVersion, published: dict[str, Any]) -> dict[str, Any]:
    """Return a version for JSON, by the keys that a published one has."""
    known = {"precision": one.precision or None, "source": one.source or None}
    return {**asdict(one), **known, **published, "remarks": []}


def _published_as(served: ServedVersion, repository: Repository, model: str) -> dict[str, Any]:
    """Return what no server reports, from the repository, if that has the served version."""
    unknown = dict.fromkeys(("size", "published", "forced", "manifest"))
    try:
        manifest = repository.manifest(served.version, model)
    except RepositoryError:
        return unknown
    if (manifest.precision, manifest.source) != (served.precision, served.source):
        return unknown
    size = directory_size(repository.version_dir(served.version, model))
    return {
        "size": size,
        "published": manifest.published,
        "forced": _is_forced(manifest),
        "manifest": manifest.to_dict(),
    }


def _tracks(release: str, namespace: str | None, *, json: bool) -> None:
    helm = helm_of(release, namespace)

    from bertqa_deploy.cluster.status import track_statuses

    with working("Asking the cluster"):
        statuses = track_statuses(helm)
    if json:
        print_json({"tracks": [each.to_dict() for each in statuses]})
        return
    table = Table("track", "version", "weight", "ready", "pods")
    for each in statuses:
        names = ", ".join(pod.name if pod.ready else f"{pod.name} (not ready)" for pod in each.pods)
        ready = f"{each.ready} of {len(each.pods)}"
        version = each.version if each.serves is None else str(each.serves)
        if each.version != version:
            version = f"{version} ({each.version})"
        table.add_row(each.track, version, f"{each.weight} %", ready, names)
    print_table(table)


def _version_table(*, on_disk: bool = True) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("state", max_width=20)
    table.add_column("precision", no_wrap=True)
    table.add_column("EM", justify="right", no_wrap=True)
    table.add_column("F1", justify="right", no_wrap=True)
    if on_disk:  # A server does not report it: the room is for the last column.
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("published", no_wrap=True)
    # A hub id or a path may be long: this column gives way.
    table.add_column("made from", overflow="fold")
    return table


def _add(
    table: Table, number: int, state: str, manifest: VersionManifest | None, size: int
) -> None:
    """Add a published version; what only a manifest says is "?" where that cannot be read."""
    if manifest is None:
        table.add_row(str(number), state, "?", "?", "?", human_size(size), "?", "?")
        return
    scores = manifest.scores
    table.add_row(
        str(number),
        state,
        manifest.precision,
        score(scores.exact_match if scores else None),
        score(scores.f1 if scores else None),
        human_size(size),
        day(manifest.published),
        _origin(manifest),
    )


def _origin(manifest: VersionManifest) -> str:
    origin = f"version {manifest.parent}" if manifest.parent else manifest.source
    return f"{origin}, pruned {manifest.pruning.speedup:g}x" if manifest.pruning else origin


app = group(versions)
for below in (show, diff, verify, delete):
    app.command(cls=Verb)(below)
