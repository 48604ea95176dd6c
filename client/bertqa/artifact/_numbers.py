"""Which version numbers a repository has given out, so that none is given twice."""

from __future__ import annotations

import contextlib
from dataclasses import field
from pathlib import Path

from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bertqa.artifact._files import read_regular, sha256_of, write_whole
from bertqa.artifact._manifest import MANIFEST_FILE
from bertqa.artifact._repository import Repository
from bertqa.errors import RepositoryError


@dataclass(slots=True)
class _Given:
    """Numbers of one model: the highest, and the sha256 of the manifest that each was given to."""

    highest: NonNegativeInt = 0
    manifests: dict[int, str] = field(default_factory=dict)


class NumberRecord:
    """The record of one repository, kept in a file of its work folder.

    Versions on disk that it does not know, such as those copied by hand, count as well, and are
    entered at the next record.
    """

    def __init__(self, repository: Repository, path: Path) -> None:
        """Read the record.

        Args:
            repository: The repository.
            path: The record's file; it need not exist.

        Raises:
            RepositoryError: The file is damaged.
            OSError: It cannot be read.
        """
        self._repository = repository
        self._path = path
        self._models = TypeAdapter(dict[str, _Given])
        try:
            self._given = self._models.validate_json(read_regular(path)) if path.exists() else {}
        except ValidationError as error:
            raise RepositoryError(
                f"{path} should hold the version numbers that were given out, and is damaged. "
                'Write {"bert-qa": {"highest": N}} there, where N is the highest number that any '
                "version ever had.",
                detail=str(error),
            ) from error

    def next(self, *models: str) -> int:
        """Return one above the highest number that any of these models ever had."""
        given = [self._given[model] for model in models if model in self._given]
        highest = [number for each in given for number in (each.highest, *each.manifests)]
        on_disk = [version for model in models for version in self._repository.versions(model)]
        return 1 + max([*highest, *on_disk], default=0)

    def other_owner(self, model: str, version: int, manifest_sha256: str) -> bool:
        """Return whether a number was given to a version with another manifest.

        Args:
            model: The model's name.
            version: The number.
            manifest_sha256: The hash of the manifest of the version that wants the number.
        """
        given = self._given.get(model)
        return given is not None and given.manifests.get(version, manifest_sha256) != (
            manifest_sha256
        )

    def enter(self, model: str, version: int, manifest: Path) -> None:
        """Enter a number that is about to be used, and all that are on disk; `save` writes them.

        Args:
            model: The model's name.
            version: The number.
            manifest: The version's manifest, where it is staged; it need not exist.
        """
        self.enter_present(model)
        _enter(self._given[model], version, manifest)

    def enter_present(self, model: str) -> None:
        """Enter all numbers of a model that are on disk; `save` writes them.

        Args:
            model: The model's name.
        """
        given = self._given.setdefault(model, _Given())
        for number in self._repository.versions(model):
            _enter(given, number, self._repository.version_dir(number, model) / MANIFEST_FILE)

    def save(self, staging: Path) -> None:
        """Write the record to the disk.

        Args:
            staging: The directory for the unfinished file.

        Raises:
            OSError: It cannot be written.
        """
        text = self._models.dump_json(self._given, indent=1).decode() + "\n"
        write_whole(self._path, text, staging=staging)


def _enter(given: _Given, version: int, manifest: Path) -> None:
    given.highest = max(given.highest, version)
    if version not in given.manifests:
        with contextlib.suppress(FileNotFoundError):
            given.manifests[version] = sha256_of(manifest)
