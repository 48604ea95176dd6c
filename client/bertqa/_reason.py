"""Whether a file can be read and why not, for messages that name the file themselves."""

from __future__ import annotations

import io
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import IO


def reason_of(error: Exception) -> str:
    """Return why something failed, without the file's name that the text of an OSError repeats.

    Args:
        error: The error; other kinds than OSError keep their text.

    Returns:
        A phrase without a full stop, such as "Permission denied".
    """
    return getattr(error, "strerror", None) or str(error)


def check_rereadable(path: Path) -> None:
    """Check that a file can be read again and again, and comes to an end.

    Args:
        path: The file.

    Raises:
        OSError: It is a pipe or a device, or is not there.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError("it is a pipe or a device, and has to be a file")


def check_finite(file: IO[bytes]) -> None:
    """Check that what is read comes to an end: a file, a pipe, a terminal or nothing.

    Args:
        file: What is open.

    Raises:
        OSError: It is a device, such as `/dev/zero`.
    """
    try:
        found = os.fstat(file.fileno())
    except io.UnsupportedOperation:  # It is in memory.
        return
    is_device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    if is_device and not file.isatty() and found.st_rdev != Path(os.devnull).stat().st_rdev:
        raise OSError("it is a device, and has to be a file or a pipe")


def open_finite(path: Path) -> BufferedReader:
    """Return a file or a pipe opened for reading.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be opened, or is a device that has no end.
    """
    file = path.open("rb")
    try:
        check_finite(file)
    except OSError:
        file.close()
        raise
    return file


def read_finite(path: Path) -> bytes:
    """Return what a file or a pipe holds; see `open_finite`."""
    with open_finite(path) as file:
        return file.read()
