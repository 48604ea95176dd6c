"""Files that appear whole, stay after a loss of power, and can be read by another user."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from bertqa._reason import reason_of

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


def open_regular(path: Path) -> BufferedReader:
    """Return a file opened for reading, if it is a file: a pipe would be waited for without end.

    Args:
        path: The file, or a symbolic link to it.

    Raises:
        OSError: It cannot be opened, or is not a file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "It is not a file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path) -> bytes:
    """Return what a file holds.

    Args:
        path: The file, or a symbolic link to it.

    Raises:
        OSError: It cannot be read, or is not a file.
    """
    with open_regular(path) as file:
        return file.read()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, which is read piece by piece.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the system write a file, or a directory's list of names, to the disk.

    Args:
        path: The file or directory.

    Raises:
        OSError: It cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, *, staging: Path | None = None) -> None:
    """Write a text file so that readers find the old text or the new one, never a part.

    The new text is on the disk when this returns. A file that is replaced keeps its mode; a new
    one gets 0644, whatever the umask.

    Args:
        path: The file; a symbolic link is replaced, not followed.
        text: What it is to hold, written as UTF-8.
        staging: A directory on the same file system for the unfinished file; None is the file's
            own directory.

    Raises:
        OSError: It cannot be written. The old file is as it was, and no part is left behind.
        UnicodeEncodeError: The text holds a character that UTF-8 has not. The same holds.
    """
    content = text.encode()
    partial = partial_of(staging / path.name if staging else path)
    # One that is a link is removed: opened, it would lead to a foreign file.
    partial.unlink(missing_ok=True)
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else FILE_MODE
        with naming(path), partial.open("xb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the OSErrors that have no name, such as that of a full disk.

    Args:
        path: The file that is written in the block.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def failure_of(error: OSError | UnicodeEncodeError, root: Path) -> str:
    """Return that a directory cannot be written and why, with the name of the file if known.

    Args:
        error: What stopped the work.
        root: The directory that is written.

    Returns:
        A sentence without its full stop. No path is in it twice.
    """
    if isinstance(error, UnicodeEncodeError):
        odd = error.object[error.start : error.end]
        return f"{root} cannot be written: a text holds {odd!a}, which is not a character"
    path = error.filename2 or error.filename
    if path is None or Path(path) == root:
        return f"{root} cannot be written: {reason_of(error)}"
    if Path(path).is_relative_to(root):
        return f"{path} cannot be written: {reason_of(error)}"
    return f"{root} cannot be written: {reason_of(error)} ({path})"


def partial_of(path: Path) -> Path:
    """Return where the unfinished text of a file is while `write_whole` writes it."""
    return path.with_name(f".{path.name}.partial")


def make_readable(directory: Path) -> None:
    """Set the modes of a published version on a directory and all in it, and sync it to the disk.

    Args:
        directory: The directory; it becomes 0755, and so do those in it, and files 0644.

    Raises:
        OSError: A mode cannot be changed or a file not be written.
    """
    for path in directory.rglob("*"):
        path.chmod(DIRECTORY_MODE if path.is_dir() else FILE_MODE)
        sync(path)
    directory.chmod(DIRECTORY_MODE)
    sync(directory)
