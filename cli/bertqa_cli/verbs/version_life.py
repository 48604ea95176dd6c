"""`bert-qa versions show`, `diff` and `delete`: what one version is, and the end of its life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Repository,
    Scores,
    VersionEntry,
    VersionManifest,
    onnx_model_name,
    sha256_of,
)
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.formatting import human_size, score
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Json, Model, require_repository
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import stages, working
from bertqa_cli.values import FOR_URL, Whole

_Number = Annotated[int, typer.Argument(click_type=Whole(min=1), metavar="N", help="A version.")]
# What says only when or under which number a version was published.
_OWN = ("version", "published", "inputs_sha256")
# What follows from the rest, or says little to people.
_LESS = (
    *("files.", "config.", "toolchain.", "provenance.", "evidence."),
    *("gate.notes", "gate.f1_drop_", "gate.parent_"),
)
_DIGITS_SHOWN = 12
_DIGESTS = ("files.", "provenance.data.", "provenance.checkpoint_sha256")


def show(
    number: _Number,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    json: Json = False,
) -> None:
    """Show one version: its scores, the gate, what it was made from, and its files.

    Each file is read, and compared with the digest that the manifest has of it.
    """
    versions = Repository(repository)
    require_repository(versions)
    entries = _formats(versions, number, model)
    served = {entry.directory: _served_as(versions, entry) for entry in entries}
    with working("Reading the files"):
        files = {entry.directory: _files(entry) for entry in entries}
    if json:
        print_json(
            {
                "version": number,
                "formats": [
                    {
                        "manifest": entry.manifest.to_dict() if entry.manifest else None,
                        "directory": str(entry.directory),
                        "served_as": served[entry.directory],
                        "files": files[entry.directory],
                        "is_signed": (entry.directory / SIGNATURE_FILE).is_file(),
                        "remarks": list(entry.remarks),
                    }
                    for entry in entries
                ],
            }
        )
        return
    table = _pairs_table()
    names = dict.fromkeys(name for name in served.values() if name)
    table.add_row("version", f"{number} of {model}, {' and '.join(map(_format_of, entries))}")
    table.add_row("served", f"as {', '.join(names)}" if names else "no")
    if all((entry.directory / SIGNATURE_FILE).is_file() for entry in entries):
        table.add_row("signed", "yes; `bert-qa versions verify` says whether by a key of yours")
    for entry in entries:
        for remark in entry.remarks:
            table.add_row("remark", remark)
        if entry.manifest and entry.manifest.scores:
            table.add_row(f"scores, {_format_of(entry)}", _in_words(entry.manifest.scores))
    for label, text in _described(next((e.manifest for e in entries if e.manifest), None)):
        table.add_row(label, text)
    print_table(table)
    listed = Table("file", "size", "sha256", "", box=None, pad_edge=False)
    listed.columns[0].no_wrap = True
    for entry in entries:
        for file, found in files[entry.directory].items():
            size = "" if found["size"] is None else human_size(found["size"])
            digest = (found["sha256"] or "")[:_DIGITS_SHOWN]
            listed.add_row(
                f"{entry.directory.parent.name}/{number}/{file}", size, digest, found["state"]
            )
    stdout.print()
    print_table(listed)


def diff(
    before: _Number,
    after: _Number,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    everything: Annotated[
        bool, typer.Option("--all", help="Show tools, digests, provenance and notes too.")
    ] = False,
    json: Json = False,
) -> None:
    """Show in what the manifests of two versions differ: scores, recipe, sizes, the gate."""
    versions = Repository(repository)
    require_repository(versions)
    first, second = (_facts(versions, number, model) for number in (before, after))
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    if json:
        differences = {
            key: {"before": first.get(key), "after": second.get(key)} for key in sorted(keys)
        }
        print_json({"before": before, "after": after, "differences": differences})
        return
    if not keys:
        stdout.print(f"The manifests of versions {before} and {after} say the same.")
        return
    table = Table("", f"version {before}", f"version {after}", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    shown = [key for key in keys if everything or not key.startswith(_LESS)]
    for key in shown:
        table.add_row(key, *(_shown(key, facts.get(key)) for facts in (first, second)))
    if shown:
        print_table(table)
    more = [key for key in keys if key not in shown]
    if more:
        parts = ", ".join(dict.fromkeys(key.partition(".")[0] for key in more))
        stdout.print(f"[dim]{len(more)} more in {escape(parts)}: --all shows them.[/]")


@grouped_options
def delete(
    numbers: Annotated[
        list[int] | None,
        typer.Argument(click_type=Whole(min=1), metavar="[N]...", help="Versions."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="Delete all but the N newest, and but those that are needed.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and change nothing.")
    ] = False,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Delete versions from the repository, with their ONNX twins.

    A version that is served (by config.json, or with --url by that server), that a switch or its
    way back leads to, or that is the newest good one is refused. No number is used again.
    """
    if bool(numbers) == (keep is not None):
        raise CommandError(
            "Name the versions to delete, or how many to --keep.", status=Status.USAGE
        )
    from bertqa_deploy.retention import delete_versions, needed_versions, refuse_needed

    versions, model = Repository(repository), connection.model
    require_repository(versions)
    served = _served_by(connection)
    needed = needed_versions(versions, model, served)
    there = versions.versions(model)
    if keep is None:
        chosen = sorted(set(numbers or ()))
        kept = {}
    else:
        chosen = [number for number in there[:-keep] if number not in needed]
        kept = {number: needed[number] for number in there[:-keep] if number in needed}
    if dry_run:
        for number in chosen:
            if number not in there:
                versions.require_version(number, model)
        refuse_needed(chosen, needed)
    elif chosen:
        with stages() as on_progress:
            delete_versions(versions, chosen, model, served=served, on_progress=on_progress)
    if json:
        print_json({"deleted": chosen, "needed": kept, "is_dry_run": dry_run})
        return
    for number, reason in kept.items():
        stdout.print(f"version {number} stays: it {escape(reason)}")
    verb = "would be deleted" if dry_run else "deleted"
    for number in chosen:
        stdout.print(f"version {number} {verb}")
    if not chosen:
        stdout.print("There is nothing to delete.")


def _served_by(connection: ConnectionOptions) -> dict[int, str]:
    if connection.url is None:
        connection.refuse(FOR_URL)
        return {}
    served = connection.served_versions()
    return {each.version: connection.address for each in served if each.state == "AVAILABLE"}


def _formats(repository: Repository, number: int, model: str) -> list[VersionEntry]:
    """Return a version in each of its formats."""
    found = [
        entry
        for name in (model, onnx_model_name(model))
        for entry in repository.entries(name)
        if entry.number == number
    ]
    if not found:
        repository.require_version(number, model)
    return found


def _served_as(repository: Repository, entry: VersionEntry) -> str | None:
    return repository.configured(entry.directory.parent.name).get(entry.number)


def _files(entry: VersionEntry) -> dict[str, dict[str, Any]]:
    """Return the size, the digest and the state of each file that is there or should be."""
    listed = entry.manifest.files if entry.manifest else {}
    there = {path.name: path for path in sorted(entry.directory.iterdir()) if path.is_file()}
    for described in (MANIFEST_FILE, SIGNATURE_FILE):
        there.pop(described, None)
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([*listed, *there]):
        path = there.get(name)
        digest = sha256_of(path) if path else None
        if path is None:
            state = "missing"
        elif name not in listed:
            state = "not in the manifest"
        else:
            state = "as published" if digest == listed[name] else "not the one published"
        size = path.stat().st_size if path else None
        found[name] = {"size": size, "sha256": digest, "state": state}
    return found


def _format_of(entry: VersionEntry) -> str:
    return entry.manifest.format if entry.manifest else entry.directory.parent.name


def _in_words(scores: Scores) -> str:
    figures = f"F1 {score(scores.f1)}, EM {score(scores.exact_match)}"
    return f"{figures} on {counted(scores.questions, 'question')} of {scores.dataset}"


def _described(manifest: VersionManifest | None) -> Iterator[tuple[str, str]]:
    """Yield what a manifest says of a version in all its formats, for people."""
    if manifest is None:
        return
    origin = f" (version {manifest.parent})" if manifest.parent else ""
    yield "precision", manifest.precision
    yield "made from", manifest.source + origin
    yield "published", manifest.published
    if manifest.evidence is not None:
        yield (
            "evidence",
            f"scores of each question, {manifest.evidence.dataset_sha256[:_DIGITS_SHOWN]}",
        )
    if manifest.gate is not None:
        forced = ", and was published by --force" if manifest.gate.forced else ""
        yield "gate", ("passed" if manifest.gate.passed else "failed") + forced
        for reason in manifest.gate.reasons:
            yield "  refused", f"{reason}."
        for note in manifest.gate.notes:
            yield "  note", note
        for key, value in _flat(manifest.gate.to_dict()):
            if key not in ("passed", "forced", "reasons", "notes"):
                yield f"  {key}", _shown(key, value)
    if manifest.pruning is not None:
        yield "pruning", f"{manifest.pruning.measured:.2f} times as fast as the unpruned version"
        for key, value in _flat(manifest.pruning.to_dict()):
            yield f"  {key}", _shown(key, value)
    if manifest.recipe:
        yield "recipe", ""
        for key, value in _flat(manifest.recipe):
            yield f"  {key}", _shown(key, value)
    if manifest.provenance is not None:
        yield "provenance", ""
        for key, value in _flat(manifest.to_dict()["provenance"]):
            if value not in ("", {}):
                yield f"  {key}", _shown(f"provenance.{key}", value)
    if manifest.toolchain:
        yield "tools", ", ".join(f"{name} {each}" for name, each in manifest.toolchain.items())


def _facts(repository: Repository, number: int, model: str) -> dict[str, Any]:
    """Return what the manifest of a version says, and the sizes of its files, by dotted keys."""
    manifest = repository.manifest(number, model).to_dict()
    facts = dict(_flat({key: value for key, value in manifest.items() if key not in _OWN}))
    directory = repository.version_dir(number, model)
    for name in manifest["files"]:
        path = directory / name
        facts[f"size.{name}"] = path.stat().st_size if path.is_file() else None
    return facts


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted keys."""
    for key, each in value.items():
        if isinstance(each, Mapping) and each:
            yield from _flat(each, f"{prefix}{key}.")
        else:
            yield prefix + key, each


def _shown(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.startswith("size."):
        return human_size(value)
    if key.startswith(_DIGESTS):
        return str(value)[:_DIGITS_SHOWN]
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _pairs_table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    return table
