"""Where a bulk run reads and writes: directories, and object stores, by their addresses."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bertqa._data_files import format_of
from bertqa._reason import reason_of
from bertqa.errors import BertQAError, DataError, InvalidOptionError

_WILD = "*?["
# What stores and file systems call the mark of a content, the surest first.
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
_HIDDEN = ("_", ".")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(/.*)", re.ASCII | re.DOTALL)
_OF_THIS_MACHINE = ("file", "local")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, as it was when the run was planned.

    Attributes:
        address: Its path or address.
        size: Its size in bytes.
        mark: Its store's mark of the content, such as an ETag, or the time of its last change.
    """

    address: str
    size: int
    mark: str

    @property
    def name(self) -> str:
        """The last part of its address."""
        return PurePosixPath(self.address).name

    def open(self) -> IO[bytes]:
        """Open it for reading.

        Returns:
            The file, at its begin.

        Raises:
            DataError: It cannot be opened.
        """
        with reaching(self.address):
            system, path = open_system(self.address)
            file: IO[bytes] = system.open(path, "rb")
        return file


def open_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address (untyped), and the path in it.

    Credentials and endpoints are those that the environment names.

    Args:
        address: A path or an address such as `s3://bucket/path`.
    """
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address, use_listings_cache=False)
    return system, str(path)


def is_local(address: str) -> bool:
    """Return whether an address is a path of this machine.

    Args:
        address: A path or an address.
    """
    return "://" not in address or address.partition("://")[0] in _OF_THIS_MACHINE


def absolute(name: str, place: object) -> str:
    """Return an address that means the same in other processes.

    Args:
        name: The name of the option, for messages.
        place: A path or an address.

    Raises:
        InvalidOptionError: It is neither.
    """
    text = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(text, str) or not text.strip():
        raise InvalidOptionError(
            f"{name} is {place!r}, but it has to be a path, or an address such as s3://bucket/path."
        )
    if text.startswith("memory://"):
        raise InvalidOptionError(
            f"{name} is {text!r}, which lies in the memory of one process: workers are others."
        )
    if not is_local(text):
        return text.rstrip("/")
    found = _SCHEME.match(text)
    if found is None:
        return str(Path(text).expanduser().absolute())
    scheme, rest = found.groups()
    path = rest.removeprefix("//localhost").removeprefix("//")
    if scheme not in _OF_THIS_MACHINE or not path.startswith("/"):
        raise InvalidOptionError(
            f"{name} is {text!r}, but it has to be a path, an address such as s3://bucket/path, or "
            "file:///path on this machine."
        )
    return path


@contextmanager
def reaching(address: str, what: str = "read") -> Iterator[None]:
    """Turn what a store's library raises into a sentence.

    Args:
        address: What the block reads or writes.
        what: What it does with it, as the end of "cannot be".
    """
    try:
        yield
    except BertQAError:
        raise
    except ImportError as error:  # Its first line is how fsspec names the package.
        raise DataError(
            f"{address} cannot be {what}: a package for its store is missing. The extras s3, gs "
            "and azure bring them.",
            detail=_first_line(error),
        ) from error
    except Exception as error:
        if what == "read" and isinstance(error, FileNotFoundError):
            raise DataError(f"{address} does not exist.", detail=_first_line(error)) from error
        raise DataError(
            f"{address} cannot be {what}: {reason_of(error).splitlines()[0].rstrip('.')}.",
            detail=_first_line(error),
        ) from error


def find_files(addresses: Iterable[str]) -> list[InputFile]:
    """Return the files that addresses stand for, in an order that is always the same.

    Args:
        addresses: Absolute ones, of a file, of a directory (all its data files, but those whose
            name begins with `_` or `.`) or with `*`, `?` or `[...]`.

    Raises:
        DataError: One has no file, or its store cannot be read.
    """
    found: dict[str, InputFile] = {}
    for address in addresses:
        with reaching(address):
            files = sorted(_files_of(address), key=lambda each: each.address)
        if not files:
            raise DataError(f"{address} has no data files.")
        found |= {each.address: each for each in files}
    return list(found.values())


def _files_of(address: str) -> Iterator[InputFile]:
    system, path = open_system(address)
    if any(sign in path for sign in _WILD) and not system.exists(path):
        infos: Mapping[str, Any] = system.glob(path, detail=True)
        files = [info for info in infos.values() if info["type"] == "file"]
    elif system.isdir(path):
        root = len(PurePosixPath(path).parts)
        files = [
            info
            for name, info in system.find(path, detail=True).items()
            if format_of(Path(name)) is not None
            and not any(part.startswith(_HIDDEN) for part in PurePosixPath(name).parts[root:])
        ]
    else:
        files = [system.info(path)]
    for info in files:
        name = info["name"] if is_local(address) else system.unstrip_protocol(info["name"])
        mark = next((str(info[key]) for key in _MARKS if info.get(key)), "")
        yield InputFile(name, int(info["size"] or 0), mark)


def is_among(address: str, directory: str) -> bool:
    """Return whether files at an address would be among those that a directory stands for.

    Args:
        address: An absolute path or an address.
        directory: An input, as in `find_files`.
    """
    within = address.removeprefix(f"{directory}/")
    return within != address and not any(
        part.startswith(_HIDDEN) for part in PurePosixPath(within).parts
    )


@dataclass(frozen=True, slots=True)
class OutputDirectory:
    """A directory whose files appear whole or not at all.

    Attributes:
        address: Its absolute path or its address.
    """

    address: str

    def names(self) -> set[str]:
        """Return the names of the files that it has, none where it is not there.

        Raises:
            DataError: Its store cannot be read.
        """
        place = Path(self.address)
        if is_local(self.address) and place.exists() and not place.is_dir():
            raise DataError(f"{self.address} is not a directory: name another.")
        with reaching(self.address):
            system, path = open_system(self.address)
            try:
                found = system.ls(path, detail=True)
            except FileNotFoundError:
                return set()
        names = {PurePosixPath(info["name"]).name for info in found if info["name"] != path}
        return names - {PurePosixPath(path).name} if "://" in self.address else names

    def read(self, name: str) -> bytes:
        """Return what a file holds.

        Args:
            name: Its name.

        Raises:
            DataError: It cannot be read.
        """
        address = f"{self.address}/{name}"
        with reaching(address):
            system, path = open_system(address)
            content: bytes = system.cat_file(path)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that is there.

        Args:
            name: Its name.
            content: All that it is to hold.

        Raises:
            DataError: It cannot be written.
        """
        address = f"{self.address}/{name}"
        with reaching(address, "written"):
            if is_local(self.address):
                _replace(Path(address), content)
            else:
                system, path = open_system(address)
                system.pipe_file(path, content)

    def sweep(self, prefix: str) -> None:
        """Remove unfinished files, which workers that were killed left behind.

        Args:
            prefix: What the names of the finished ones begin with.
        """
        if is_local(self.address):
            for path in Path(self.address).glob(f".{prefix}*"):
                path.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with staged.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


class _LastCopy:
    """The copy of the file that this process read last: partitions of a file come in a row."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: InputFile | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def of(self, file: InputFile) -> Path:
        with self._lock:
            if self._folder is None or self._file != file:
                if self._folder is not None:
                    self._folder.cleanup()
                self._file, self._folder = None, tempfile.TemporaryDirectory(prefix="bertqa-")
                download(file.address, Path(self._folder.name, file.name))
                self._file = file
            return Path(self._folder.name, file.name)


_last_copy = _LastCopy()


def on_this_machine(file: InputFile) -> Path:
    """Return the path of a file on this machine, after copying it where it is in a store.

    Args:
        file: The file.

    Returns:
        Its path; a copy has the same name, and is there until another file is copied.

    Raises:
        DataError: It cannot be read.
    """
    return Path(file.address) if is_local(file.address) else _last_copy.of(file)


def download(address: str, target: Path) -> None:
    """Copy a file of a store to this machine.

    Args:
        address: The file.
        target: Where to, which is not there yet.

    Raises:
        DataError: It cannot be read, or `target` not be written.
    """
    with reaching(address):
        system, path = open_system(address)
        system.get_file(path, str(target))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
