"""Which versions of a repository can be deleted, and deleting them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bertqa._progress import OnProgress, ignore
from bertqa.artifact import (
    MODEL_NAME,
    Repository,
    RepositoryWriter,
    VersionEntry,
    onnx_model_name,
)
from bertqa_deploy.config_file import remembered_versions
from bertqa_deploy.errors import VersionNeededError


def needed_versions(
    repository: Repository, model: str = MODEL_NAME, served: Mapping[int, str] | None = None
) -> dict[int, str]:
    """Return the versions that must not be deleted.

    These are the ones that are served, that a rollout or its way back leads to, and the newest that
    passed the quality gate; where none passed it, the newest of all.

    Args:
        repository: The repository.
        model: The model's name.
        served: Those that a server is known to serve, with its address.

    Returns:
        The reason by the version's number, as the end of a sentence that begins with the version.

    Raises:
        RepositoryError: The repository cannot be read.
        ConfigError: `config.json` cannot be read.
        DeployError: What is remembered of rollouts cannot be read.
    """
    needed = _newest_good(repository.entries(model))
    needed |= remembered_versions(repository, model)
    needed |= {number: f"is served by {address}" for number, address in (served or {}).items()}
    for name in (onnx_model_name(model), model):
        for number, entry in repository.configured(name).items():
            needed[number] = f"is served as {entry}, by {repository.config_path}"
    return {number: needed[number] for number in sorted(needed)}


def delete_versions(
    repository: Repository,
    numbers: Collection[int],
    model: str = MODEL_NAME,
    *,
    served: Mapping[int, str] | None = None,
    on_progress: OnProgress = ignore,
) -> None:
    """Delete versions with their ONNX twins, all of them or none. No number is used again.

    Args:
        repository: The repository, whose directory exists.
        numbers: The versions' numbers.
        model: The model's name.
        served: Those that a server is known to serve, with its address.
        on_progress: Called when another process writes to the repository, which is waited for.

    Raises:
        VersionNeededError: One is needed: see `needed_versions`.
        RepositoryError: There is no such version, a switch is under way, or the repository cannot
            be written. Where that happened in between, the same call deletes what is left.
    """
    models = (onnx_model_name(model), model)
    with RepositoryWriter(repository, on_progress=on_progress) as writer:
        there = {number for name in models for number in repository.versions(name)}
        for number in numbers:
            if number not in there:
                repository.require_version(number, model)
        lock = writer.reserve_switching()
        try:
            refuse_needed(numbers, needed_versions(repository, model, served))
            for number in numbers:
                writer.delete(number, *models)
        finally:
            lock.release()


def refuse_needed(numbers: Collection[int], needed: Mapping[int, str]) -> None:
    """Refuse to delete versions that are needed.

    Args:
        numbers: The versions' numbers.
        needed: What `needed_versions` returned.

    Raises:
        VersionNeededError: One of them is.
    """
    for number in numbers:
        if number not in needed:
            continue
        is_configured = needed[number].startswith("is served as")
        way = " `bert-qa switch --to N --retire` serves another version alone."
        raise VersionNeededError(
            f"Version {number} {needed[number]}: nothing was deleted.{way if is_configured else ''}"
        )


def _newest_good(entries: Sequence[VersionEntry]) -> dict[int, str]:
    """Return the newest version that passed the gate, else the newest one, with the reason."""
    for entry in reversed(entries):
        gate = entry.manifest.gate if entry.manifest else None
        if gate is not None and gate.passed:
            return {entry.number: "is the newest that passed the quality gate"}
    return {entries[-1].number: "is the newest one"} if entries else {}
