"""Data sets of the library `datasets`: what it saved, a directory of files, or the hub's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bertqa import _hub
from bertqa._data_files._address import DataAddress
from bertqa._data_files._records import Record
from bertqa._data_files._squad_json import expanded
from bertqa._quiet import muted
from bertqa._reason import reason_of
from bertqa.errors import DataError

_OF_SAVED_DICT, _OF_SAVED = "dataset_dict.json", "state.json"


class RowsSource:
    """The rows of a data set.

    Args:
        rows: The rows, a mapping each.
        name: What to call it in messages.
    """

    header = None

    def __init__(self, rows: Any, name: str) -> None:
        self._rows = rows
        self.name = name

    def records(self) -> Iterator[Record]:
        """Yield the rows; one that holds a document or an article in SQuAD's form becomes several.

        Raises:
            DataError: A row is damaged.
        """
        try:
            for number, row in enumerate(self._rows, start=1):
                yield from expanded(row, f"Row {number}", self.name)
        except (OSError, ValueError) as error:
            raise DataError(
                f"The data set {self.name} is damaged.", detail=reason_of(error)
            ) from error


@contextmanager
def open_dataset(address: DataAddress, splits: Sequence[str]) -> Iterator[RowsSource]:
    """Open a data set.

    Args:
        address: Where it is.
        splits: Which split to take where the address names none and there are several, best first.

    Yields:
        Its rows.

    Raises:
        DataError: It is not there, cannot be read, or has no such split or configuration; or the
            library is not installed.
    """
    library = _library(address)
    with tempfile.TemporaryDirectory() as folder, _quiet(library):
        with _explained(library, address):
            pinned = _pinned(library, address)
            split = address.split or _chosen(address, _splits(library, pinned), splits)
        address, pinned = replace(address, split=split), replace(pinned, split=split)
        with _explained(library, address):
            rows = _rows(library, pinned, folder)
        yield RowsSource(rows, address.name)


def splits_of(address: DataAddress) -> list[str]:
    """Return the splits of a data set.

    Args:
        address: Where it is.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    library = _library(address)
    with _quiet(library), _explained(library, address):
        return _splits(library, _pinned(library, address))


def _library(address: DataAddress) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(
            f"{address.description} is a data set, not a file, which needs the extra 'build': from "
            "a clone of the project, run pip install '.[build]'.",
            detail=str(error),
        ) from error
    return datasets


def _rows(library: Any, address: DataAddress, folder: str) -> Any:
    if _is_saved(address):
        saved = library.load_from_disk(address.place)
        if not isinstance(saved, library.DatasetDict):
            return saved
        if address.split not in saved:
            raise _unknown_split(address, list(saved))
        return saved[address.split]
    if address.is_local:
        options = {"cache_dir": folder, "keep_in_memory": True}
    else:
        options = {"revision": address.revision}
    return library.load_dataset(address.place, address.config, split=address.split, **options)


def _pinned(library: Any, address: DataAddress) -> DataAddress:
    """Return a data set of the hub with the commit that its revision is; the hub is asked once.

    Where the hub cannot be reached, the library may still have a copy.
    """
    if address.is_local:
        return address
    from huggingface_hub import HfApi

    try:
        info = HfApi(endpoint=library.config.HF_ENDPOINT).dataset_info(
            address.place, revision=address.revision
        )
    except Exception as error:
        if _hub.is_final(error):
            raise
        return address
    return replace(address, revision=info.sha)


def _splits(library: Any, address: DataAddress) -> list[str]:
    if not _is_saved(address):
        options = {} if address.is_local else {"revision": address.revision}
        return list(library.get_dataset_split_names(address.place, address.config, **options))
    saved = library.load_from_disk(address.place)
    return list(saved) if isinstance(saved, library.DatasetDict) else ["train"]


def _chosen(address: DataAddress, there: Sequence[str], wanted: Sequence[str]) -> str:
    if len(there) == 1:
        return there[0]
    found = next((each for each in wanted if each in there), None)
    if found is None:
        raise DataError(
            f"The data set {address.description} has several splits: name one of "
            f"{', '.join(there)}, as in {address.place}:{there[0]}."
        )
    return found


def _is_saved(address: DataAddress) -> bool:
    return address.is_local and any(
        (address.path / name).is_file() for name in (_OF_SAVED_DICT, _OF_SAVED)
    )


def _unknown_split(address: DataAddress, there: Sequence[str]) -> DataError:
    place = replace(address, split=None).description
    return DataError(
        f"The data set {place} has no split {address.split!r}: its splits are {', '.join(there)}."
    )


@contextmanager
def _explained(library: Any, address: DataAddress) -> Iterator[None]:
    """Raise what the library, the hub or a file raises as a sentence on the data set."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise _error(library, address, error) from error


def _error(library: Any, address: DataAddress, error: Exception) -> DataError:
    """Return what a library raised as a sentence on the data set."""
    # What the library raises around a reader's error says only that there was one.
    cause = (
        error.__cause__ if isinstance(error, library.exceptions.DatasetGenerationError) else None
    )
    name, reason = address.description, reason_of(error if cause is None else cause)
    if "split" in reason and address.split and not _hub.is_final(error):
        try:
            there = _splits(library, _pinned(library, address))
        except Exception:
            there = []
        if there and address.split.partition("[")[0] not in there:
            return _unknown_split(address, there)
    if "onfig" in reason and isinstance(error, ValueError):
        return DataError(
            f"The data set {name} has several configurations, or not this one: name it before the "
            f"split, as in {address.place}:CONFIG/SPLIT. {reason.splitlines()[0]}",
            detail=reason,
        )
    if address.is_local:
        return DataError(
            f"{name} is a directory, and no data set can be read from it: {_first_line(reason)}",
            detail=reason,
        )
    return DataError(
        f"Cannot load the data set {name}: no file or directory has this name, and "
        f"{_hub.refusal(error)}. Where there is no network, download it elsewhere (`hf download "
        f"--repo-type dataset {address.place} --local-dir DIRECTORY`) and name the directory.",
        detail=reason if _hub.is_final(error) else None,
    )


def _first_line(reason: str) -> str:
    line = (reason.strip() or "the library names no reason").splitlines()[0].rstrip(".")
    return f"{line}."


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep the libraries' attempts, warnings and bars off the console."""
    had_bars = library.utils.logging.is_progress_bar_enabled()
    library.utils.logging.disable_progress_bar()
    try:
        with muted(*_hub.LOGGERS):
            yield
    finally:
        if had_bars:
            library.utils.logging.enable_progress_bar()
