"""Directories of data files: what `datasets` would drop in silence, and what it does not name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from bertqa._data_files._records import Source
from bertqa._reason import reason_of
from bertqa.errors import DataError

_ZIP = ".zip"
_CARD = "README.md"
# Files beside the data, which `datasets` passes over as well.
_OTHERS = {"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
_SHOWN = 3


def check_directory(directory: Path, format_of: Callable[[Path], object]) -> None:
    """Refuse a directory of which `datasets` would read the files of one format alone.

    Args:
        directory: The directory; where its README.md says which files to read, that counts.
        format_of: Returns what the files of one format have in common, None for no data.

    Raises:
        DataError: It has data files of several formats, or cannot be read.
    """
    try:
        files = [] if _names_its_files(directory) else _files(directory)
    except OSError as error:
        raise DataError(
            f"{error.filename or directory} cannot be read: {reason_of(error)}."
        ) from error
    by_format: dict[object, Path] = {}
    for path in files:
        found = _ZIP if path.suffix.lower() == _ZIP else format_of(path)
        if found is not None:
            by_format.setdefault(found, path.relative_to(directory))
    if len(by_format) > 1:
        names = ", ".join(map(str, list(by_format.values())[:_SHOWN]))
        raise DataError(
            f"{directory} has files of several formats, such as {names}, and one format alone "
            "would be read: name one of the files, or move the others away."
        )


def damage_in(directory: Path, open_source: Callable[[Path], Source | None]) -> DataError | None:
    """Return the error of the first file of a directory that cannot be read, None for no such file.

    Args:
        directory: The directory.
        open_source: Opens a file, or returns None for one without data.
    """
    first: Source | None = None
    for path in _files(directory):
        if path.suffix.lower() == _ZIP and not zipfile.is_zipfile(path):
            return DataError(f"{path} is not a ZIP archive: it is damaged, or of another kind.")
        try:
            source = open_source(path)
            for record in () if source is None else source.records():
                if record.problem is not None:
                    return DataError(f"{path} cannot be read: {record.problem}")
        except DataError as error:
            return error
        first = first or source
        if source and first and source.header != first.header:
            return DataError(
                f"{source.name} has the columns {', '.join(source.header or ())}, and {first.name} "
                f"has {', '.join(first.header or ())}: files of one directory have the same."
            )
    return None


def _files(directory: Path) -> list[Path]:
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        and path.name not in _OTHERS
        and not any(part.startswith((".", "__")) for part in path.relative_to(directory).parts)
    ]


def _names_its_files(directory: Path) -> bool:
    card = directory / _CARD
    return card.is_file() and b"configs:" in card.read_bytes()
