"""What the system said, for messages that name the file themselves."""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """Return why something failed, without the file's name that the text of an OSError repeats.

    Args:
        error: The error; other kinds than OSError keep their text.

    Returns:
        A phrase without a full stop, such as "Permission denied".
    """
    return getattr(error, "strerror", None) or str(error)
