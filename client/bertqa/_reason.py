"""What an error of a file says besides the file's name, which the message has already."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """Return why a file cannot be used.

    Args:
        error: An `OSError`, whose own text repeats the path, or another error, as it is.

    Returns:
        A text without a full stop.
    """
    return (isinstance(error, OSError) and error.strerror) or str(error)
