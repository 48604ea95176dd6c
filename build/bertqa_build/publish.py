"""Putting a finished version into a model repository: whole, or not at all.

Everything is staged in `<repository>/.staging/`, which is on the same file system and which OVMS
never looks into (it reads a directory called `2.tmp` as version 2). One lock serialises publishers;
the system drops it when its holder dies, so whatever is found in staging is left over from one who
did. Numbers are written down before they are used: none is given out twice, not even after its
version was deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bertqa.artifact import (
    IR_FILE,
    MANIFEST_FILE,
    MODEL_NAME,
    ONNX_FILE,
    Repository,
    VersionManifest,
    onnx_model_name,
    sha256_of,
)
from bertqa.errors import RepositoryError

STAGING = ".staging"
_LOCK = "lock"
_HIGHEST = "highest-version"


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The files of one version: an IR (`ir` is the .xml, its .bin stands beside it) and an ONNX."""

    ir: Path
    onnx: Path

    def __post_init__(self) -> None:
        for path in (self.ir, self.ir.with_suffix(".bin"), self.onnx):
            if not path.is_file():
                raise RepositoryError(f"There is no {path} to publish.")

    @property
    def weights(self) -> Path:
        """The IR's .bin."""
        return self.ir.with_suffix(".bin")


def publish(repository: Repository, artefacts: Artefacts, manifest: VersionManifest) -> int:
    """Publish a version and give its number, which is one above the highest ever given.

    `manifest` says all but what is only known now: `model`, `version`, `format`, `files` and
    `published` are filled in. A `config.json` that serves all versions of the IR is written where
    there is none. Safe against other publishers and against being killed at any moment. Raises
    RepositoryError where the repository cannot be written, and leaves nothing behind.
    """
    try:
        with _staging(repository) as staging:
            version = _next_version(repository, staging)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            draft = replace(manifest, version=version, published=now)
            onnx = _stage(
                staging,
                replace(draft, model=onnx_model_name(MODEL_NAME), format="onnx"),
                {ONNX_FILE: artefacts.onnx},
            )
            ir = _stage(
                staging,
                replace(draft, model=MODEL_NAME, format="openvino"),
                {IR_FILE: artefacts.ir, Path(IR_FILE).with_suffix(".bin").name: artefacts.weights},
            )
            _write(staging, _HIGHEST, f"{version}\n")
            _move(onnx, repository.version_dir(version, onnx_model_name(MODEL_NAME)))
            _move(ir, repository.version_dir(version))
            if not repository.config_path.exists():
                _write_config(repository, staging)
    except OSError as error:
        raise RepositoryError(
            f"{repository.root} cannot be written: {error.strerror or error}. "
            "What was published before is as it was."
        ) from error
    return version


@contextmanager
def _staging(repository: Repository) -> Iterator[Path]:
    staging = repository.root / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(staging)
        try:
            yield staging
        finally:
            _clear(staging)


def _clear(staging: Path) -> None:
    for entry in staging.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in (_LOCK, _HIGHEST):
            entry.unlink()


def _next_version(repository: Repository, staging: Path) -> int:
    given = [
        version
        for model in (MODEL_NAME, onnx_model_name(MODEL_NAME))
        for version in repository.versions(model)
    ]
    record = staging / _HIGHEST
    if record.exists():
        text = record.read_text(encoding="ascii", errors="replace").strip()
        if not text.isdecimal():
            raise RepositoryError(
                f"{record} should hold the highest version number ever given, and holds {text!r}. "
                "Write the number there."
            )
        given.append(int(text))
    return 1 + max(given, default=0)


def _stage(staging: Path, manifest: VersionManifest, files: dict[str, Path]) -> Path:
    directory = staging / manifest.model
    directory.mkdir()
    for name, source in files.items():
        shutil.copyfile(source, directory / name)
        _sync(directory / name)
    digests = {name: sha256_of(directory / name) for name in files}
    _write(directory, MANIFEST_FILE, replace(manifest, files=digests).to_json())
    return directory


def _move(staged: Path, target: Path) -> None:
    """Let a version appear. `os.rename` refuses a target that holds anything."""
    target.parent.mkdir(exist_ok=True)
    staged.rename(target)
    _sync(target.parent)
    _sync(target.parent.parent)


def _write_config(repository: Repository, staging: Path) -> None:
    """OVMS takes a relative `base_path` from where `config.json` is: the repository can move."""
    model = {"name": MODEL_NAME, "base_path": MODEL_NAME, "model_version_policy": {"all": {}}}
    text = json.dumps({"model_config_list": [{"config": model}]}, indent=2) + "\n"
    _write(staging, repository.config_path.name, text)
    (staging / repository.config_path.name).rename(repository.config_path)
    _sync(repository.root)


def _write(directory: Path, name: str, text: str) -> None:
    """Write a small file so that it is there as a whole, and stays after a loss of power."""
    partial = directory / f"{name}.partial"
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    partial.rename(directory / name)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
