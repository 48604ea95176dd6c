"""Why a file cannot be read, for messages that name the file themselves."""

from __future__ import annotations

import stat
from pathlib import Path


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
