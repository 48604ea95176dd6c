"""The `config.json` that a server needs before it starts, made or completed for this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bertqa._progress import OnProgress, ignore
from bertqa._reason import reason_of
from bertqa.artifact._arrivals import Draft
from bertqa.artifact._manifest import MANIFEST_FILE, VersionManifest
from bertqa.artifact._ovms_config import OvmsConfig
from bertqa.artifact._repository import Repository, onnx_model_name
from bertqa.artifact._signature import SIGNATURE_FILE, SigningKey, changed_file
from bertqa.artifact._work_folder import require_kind, require_publishable, require_sound
from bertqa.artifact._writer import RepositoryWriter
from bertqa.errors import ConfigChangedError, RepositoryBusyError, RepositoryError

_BUSY_SECONDS = 5.0
_RETRIES = 3


def complete_config(
    repository: Repository,
    model: str,
    cores: int,
    *,
    given: Mapping[str, str] | None = None,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda _: None,
    on_progress: OnProgress = ignore,
) -> Path:
    """Make sure that a repository has a `config.json` that fits this machine.

    Where there is none, it serves all versions of `model`. Models in it without a `plugin_config`
    get one for so many cores, and one that this wrote for another machine is replaced; all else
    stays as it is. Nothing is locked or written where nothing has to be. A file that is there and
    cannot be written, or that a switch is editing, is served as it is.

    Args:
        repository: The repository.
        model: The model that is to be served.
        cores: How many cores the server may use.
        given: OpenVINO's properties that every model is to have, whatever the file says.
        dry_run: Check, and write nothing.
        log: Called with a sentence where the file is served as it is.
        on_progress: Called when there is another writer to wait for.

    Returns:
        The absolute path of the file.

    Raises:
        ConfigError: The file cannot be read, or OVMS would refuse it.
        RepositoryBusyError: There is no `config.json`, and another process does not stop writing.
        RepositoryError: There is no repository, no version of the model in it, or no `config.json`,
            and it cannot be written.
    """
    path = repository.config_path.absolute()
    if not repository.root.is_dir():
        raise RepositoryError(
            f"There is no model repository at {repository.root}. `bert-qa build` makes one."
        )
    if path.exists():
        config = OvmsConfig.read(path)
        if config.fitted(cores, given) == config or dry_run:
            return path
        try:
            _complete(repository, model, cores, given, on_progress)
        except RepositoryError as error:
            log(f"{path} is served as it is, without settings for {cores} cores: {error}")
        return path
    require_sound(repository)
    if not repository.versions(model):
        raise RepositoryError(repository.without(model))
    if not dry_run:
        try:
            _complete(repository, model, cores, given, on_progress)
        except RepositoryBusyError:
            if not path.exists():  # The other process may have made it.
                raise
    return path


def publish_served(
    repository: Repository,
    drafts: Sequence[Draft],
    *,
    present: Callable[[], int | None] = lambda: None,
    key: SigningKey | None = None,
    on_progress: OnProgress = ignore,
) -> int:
    """Publish one version in all its formats, and have `config.json` serve its model.

    Args:
        repository: Where it is published.
        drafts: The formats, in the order in which they appear. All versions of the last one's model
            are served, unless `config.json` has an entry for it.
        present: Returns the number under which the version is there already, if it is. It is asked
            when what another writer left unfinished is complete, and no other can write.
        key: What a version is signed with that is published now; None leaves it unsigned.
        on_progress: Called when there is another writer to wait for.

    Returns:
        The version's number: one above the highest ever used, or the one that it has already.

    Raises:
        ConfigError: `config.json` cannot be read, or OVMS would refuse it. Nothing is published.
        RepositoryError: The repository cannot be written, or another process does not stop writing
            to it. What was published before is as it was, and nothing is left behind; only where
            `config.json` alone cannot be written, the version is there, as the message says.
    """
    require_publishable(repository, *(draft.manifest.model for draft in drafts))
    with RepositoryWriter(repository, on_progress=on_progress) as writer:
        version = present() or writer.publish(drafts, key)
        _serve(repository, version, drafts[-1].manifest.model, writer)
    return version


def serve_version(
    repository: Repository, version: int, model: str, *, on_progress: OnProgress = ignore
) -> None:
    """Have `config.json` serve the model of a version that is there already.

    Nothing is locked or written where it has an entry for the model.

    Args:
        repository: The repository.
        version: The version's number.
        model: The model's name.
        on_progress: Called when there is another writer to wait for.

    Raises:
        ConfigError: `config.json` cannot be read, or OVMS would refuse it.
        RepositoryError: `config.json` cannot be written.
    """
    require_sound(repository, model)
    found = _read_or_new(repository.config_path, model)
    if found.text is None or found.serving(model) != found:
        with RepositoryWriter(repository, on_progress=on_progress) as writer:
            _serve(repository, version, model, writer)


def _serve(repository: Repository, version: int, model: str, writer: RepositoryWriter) -> None:
    """Have `config.json` serve all versions of a model, unless it has an entry of its own."""
    try:
        _enter(repository.config_path, model, writer)
    except RepositoryError as error:
        raise RepositoryError(
            f"Version {version} of {model} is published, but not served: {error} Add "
            f"an entry for {model} to {repository.config_path}."
        ) from error


def _enter(path: Path, model: str, writer: RepositoryWriter) -> None:
    """Add what is lacking; a change by a program that takes no lock stays."""
    for attempt in range(_RETRIES + 1):
        found = _read_or_new(path, model)
        try:
            _write_changed(writer, found, found.serving(model))
        except ConfigChangedError:
            if attempt == _RETRIES:
                raise
        else:
            return


def _read_or_new(path: Path, model: str) -> OvmsConfig:
    """Return the configuration, or where there is none one that serves a model."""
    return OvmsConfig.read(path) if path.exists() else OvmsConfig.default(path, model)


def _write_changed(writer: RepositoryWriter, found: OvmsConfig, changed: OvmsConfig) -> None:
    """Write a configuration, unless it is as it was found in its file."""
    if changed != found or found.text is None:
        writer.replace_config(found, changed.new_text)


def sign_version(
    repository: Repository,
    version: int,
    model: str,
    key: SigningKey,
    *,
    on_progress: OnProgress = ignore,
) -> None:
    """Sign a version that is published, and its ONNX twin where there is one.

    Nothing is locked or written where the key has signed them already.

    Args:
        repository: The repository.
        version: The version's number.
        model: The model's name.
        key: The key.
        on_progress: Called when there is another writer to wait for.

    Raises:
        RepositoryError: There is no such version, a file is not the one in its manifest, or the
            repository cannot be written.
    """
    repository.require_version(version, model)
    models = [onnx_model_name(model), model]
    manifests = [repository.version_dir(version, each) / MANIFEST_FILE for each in models]
    lacking = [
        each
        for each in manifests
        if each.parent.is_dir() and not key.has_signed(each, each.with_name(SIGNATURE_FILE))
    ]
    if not lacking:
        return
    require_sound(repository, *models)
    with RepositoryWriter(repository, on_progress=on_progress) as writer:
        for each in lacking:
            try:
                changed = changed_file(each.parent, VersionManifest.read(each))
                signature = key.signature_of(each)
            except OSError as error:
                raise RepositoryError(
                    f"{each.parent} cannot be read: {reason_of(error)}."
                ) from error
            if changed is not None:
                raise RepositoryError(
                    f"{changed} is not the file that was published as version {version}, by the "
                    "digest in its manifest: nothing was signed."
                )
            path = each.with_name(SIGNATURE_FILE)
            require_kind(path, directory=False)
            writer.write(path, signature)


def _complete(
    repository: Repository,
    model: str,
    cores: int,
    given: Mapping[str, str] | None,
    on_progress: OnProgress,
) -> None:
    path = repository.config_path.absolute()
    with RepositoryWriter(
        repository, wait_seconds=_BUSY_SECONDS, on_progress=on_progress
    ) as writer:
        found = _read_or_new(path, model)
        _write_changed(writer, found, found.fitted(cores, given))
