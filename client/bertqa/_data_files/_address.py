"""Where questions are: a file, a directory of data, or a data set of the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bertqa import _hub
from bertqa._data_files._files import STANDARD_STREAM
from bertqa._reason import reason_of
from bertqa.errors import DataError

_FILES = re.compile(r"\.(?:csv|tsv|json|jsonl|ndjson|parquet|gz|txt|arrow|xlsx)", re.IGNORECASE)

_OF_CHECKPOINTS = {"tokenizer.json", "vocab.txt", "model.safetensors", "pytorch_model.bin"}


@dataclass(frozen=True, slots=True)
class DataAddress:
    """Where questions are.

    Attributes:
        place: The path of a file or a directory, or the name of a data set of the hub.
        revision: A branch, a tag or a commit of the hub, None for the newest.
        config: The configuration, where a data set has several.
        split: The split, None where there is one only, or where the reader chooses.
        is_local: Whether `place` is a path.
    """

    place: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    is_local: bool = True

    @property
    def path(self) -> Path:
        """The path of a file or a directory."""
        return Path(self.place)

    @property
    def is_dataset(self) -> bool:
        """Whether it is a data set of the hub or a directory, and not one file or stream."""
        return not self.is_local or _is_directory(self.path)

    @property
    def description(self) -> str:
        """What to call it in messages."""
        return self._called(self.place)

    @property
    def name(self) -> str:
        """What to call its questions: as the description, but of a path its last part alone."""
        return self._called(self.path.name if self.is_local else self.place)

    def _called(self, place: str) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        parts = "/".join(part for part in (self.config, self.split) if part)
        return f"{place}{revision}{f' ({parts})' if parts else ''}"

    @classmethod
    def of(cls, given: str | Path, path: Path) -> DataAddress:
        """Return the address that an argument stands for.

        Args:
            given: The argument: a str is an address as people type it, a Path is one to the letter.
            path: The path that the argument would be.

        Raises:
            DataError: See `parse`.
        """
        if isinstance(given, str) and str(path) != STANDARD_STREAM:
            return cls.parse(given)
        return cls(str(path))

    @classmethod
    def parse(cls, text: str, directory: Path = Path()) -> DataAddress:
        """Read an address as people type it.

        Args:
            text: A path, also with `:SPLIT` or `:CONFIG/SPLIT` where it is a directory, or
                `ID[@REVISION][:SPLIT]` of the hub. What is there is taken as a path.
            directory: What a relative path starts from.

        Returns:
            The address.

        Raises:
            DataError: There is no such file, and the hub has no names of this form; a path may not
                be read; or a directory is empty, or has a checkpoint.
        """
        whole = directory / _expanded(text)
        if text == STANDARD_STREAM:
            return cls(text)
        if _exists(whole):
            return cls(str(_with_data(whole)))
        head, _, tail = text.partition(":")
        parts = tail.rpartition("/")
        config, split = parts[0] or None, parts[2] or None
        inner = directory / _expanded(head)
        if tail and _exists(inner):
            if not inner.is_dir():
                raise DataError(f"{inner} is a file, and has no split {tail!r}: leave it out.")
            return cls(str(_with_data(inner)), None, config, split)
        name, at, revision = head.partition("@")
        if at and not revision:
            raise DataError(f"{text!r} names no revision after the @.")
        if "://" in text:
            raise DataError(f"{text} is a URL, which is not read: download it and name the file.")
        if not _hub.ID.fullmatch(name) or _FILES.fullmatch(Path(name).suffix):
            raise DataError(f"The file {inner if tail else whole} does not exist.")
        return cls(name, revision or None, config, split, is_local=False)


def _expanded(text: str) -> Path:
    """Return a path with the home of its user; `~` and a name that no user has stay as they are."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _exists(path: Path) -> bool:
    """Return whether anything exists at a path, also a broken symbolic link. Raises DataError."""
    try:
        path.lstat()
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except (OSError, ValueError):  # It is not there, is too long, or holds a NUL.
        return False
    return True


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # What opens it as a file says why that fails.
        return False


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {reason_of(error)}.")


def _with_data(path: Path) -> Path:
    if not _is_directory(path):
        return path
    try:
        names = {each.name for each in path.iterdir()}
    except OSError as error:
        raise _unreadable(path, error) from error
    if not names:
        raise DataError(f"{path} is an empty directory, without data.")
    if "config.json" in names and names & _OF_CHECKPOINTS:
        raise DataError(f"{path} is a directory with a checkpoint, not with data.")
    return path
