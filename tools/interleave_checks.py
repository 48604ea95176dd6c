"""What must hold of a model repository that several processes wrote to at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bertqa.artifact import (
    MANIFEST_FILE,
    MODEL_NAME,
    WORK_FOLDER,
    OvmsConfig,
    Repository,
    VersionManifest,
    onnx_model_name,
    plugin_config,
    sha256_of,
    split_model_name,
)
from bertqa_deploy.config_file import SplitModel

TWIN = onnx_model_name(MODEL_NAME)
SPLITS = split_model_name(MODEL_NAME)


@dataclass(frozen=True)
class Done:
    """An operation that its process reports as done: what it wrote."""

    kind: str
    number: int = 0
    text: str = ""


def faults(repository: Repository, done: list[Done], folder: Path) -> Iterator[str]:
    """Yield what is wrong with a repository after several processes wrote to it.

    Args:
        repository: The repository, after one more writer has entered.
        done: What the processes reported as done.
        folder: The folder that holds the repository and the versions that were deleted.
    """
    owners: dict[int, set[str]] = defaultdict(set)
    for each in done:
        if each.kind in ("build", "copy"):
            owners[each.number].add(each.text)
    only_onnx = {6}
    deleted = [path for path in folder.iterdir() if path.name != "repository"]
    for directory in [
        *(repository.version_dir(v, m) for m in (MODEL_NAME, TWIN) for v in repository.versions(m)),
        *(path for rubbish in deleted for path in rubbish.iterdir()),
    ]:
        found = VersionManifest.read(directory / MANIFEST_FILE)
        names = {path.name for path in directory.iterdir()}
        if names != {MANIFEST_FILE, *found.files}:
            yield f"{directory} holds {names}"
        if any(sha256_of(directory / name) != digest for name, digest in found.files.items()):
            yield f"{directory} is damaged"
        # A copy that was made by hand has the manifest of another number.
        if int(directory.name.rpartition(".")[2]) == found.version:
            owners[found.version].add(found.source)
    for number, sources in owners.items():
        if len(sources) > 1:
            yield f"number {number} was used by {sorted(sources)}"
    halves = set(repository.versions(MODEL_NAME)) ^ set(repository.versions(TWIN))
    if halves - only_onnx:
        yield f"versions {sorted(halves)} have one format only"
    gone = {each.number for each in done if each.kind == "delete"}
    for each in done:
        expected = each.kind in ("build", "copy") and each.number not in gone
        if expected and each.number not in repository.versions():
            yield f"version {each.number} was reported and is not there"
    yield from _config_faults(repository, done)
    yield from _leftovers(repository)


def _config_faults(repository: Repository, done: list[Done]) -> Iterator[str]:
    """Yield the edits of `config.json` and the splits that were lost."""
    if not repository.config_path.exists():
        if any(each.kind in ("build", "complete", "switch") for each in done):
            yield "config.json is missing"
        return
    config = OvmsConfig.read(repository.config_path)
    for each in done:
        if each.kind == "switch" and not config.has(each.text):
            yield f"the edit {each.text} is lost"
    found = [entry.get("plugin_config") for entry in config.entries]
    if any(each.kind == "complete" for each in done) and found[0] is None:
        yield "the completed plugin_config is lost"
    if any(each not in (None, plugin_config(2), plugin_config(8)) for each in found):
        yield f"plugin_config is {found}"
    numbers = [each.number for each in done if each.kind == "switch"]
    if len(set(numbers)) < len(numbers):
        yield f"the splits have the numbers {numbers}"
    SplitModel(repository, MODEL_NAME).history()


def _leftovers(repository: Repository) -> Iterator[str]:
    """Yield what is not to be there, and what has another mode than OVMS can read."""
    work = repository.root / WORK_FOLDER
    known = {WORK_FOLDER, MODEL_NAME, TWIN, SPLITS, "config.json", f"{MODEL_NAME}.split"}
    if unknown := {path.name for path in repository.root.iterdir()} - known:
        yield f"left over in the repository: {unknown}"
    if unknown := {path.name for path in work.iterdir()} - {"lock", "numbers.json", "copies"}:
        yield f"left over in the work folder: {unknown}"
    for copy in (work / "copies").glob("*"):
        model, version, _ = copy.name.rsplit("-", 2)
        if (repository.root / model / version).exists():
            yield f"left over: {copy}"
    for path in repository.root.rglob("*"):
        right = 0o755 if path.is_dir() else 0o644
        if WORK_FOLDER not in path.parts and path.stat().st_mode & 0o777 != right:
            yield f"{path} has the mode {path.stat().st_mode:o}"
