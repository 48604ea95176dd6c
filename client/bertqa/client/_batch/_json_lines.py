"""Writing JSON Lines: an object a line, in ASCII."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from bertqa._data_files import as_plain


class JsonLinesWriter:
    """Writes rows as JSON Lines, in ASCII.

    Args:
        file: Where to write; it is not closed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            row: Its values by field.
        """
        plain = {name: as_plain(value) for name, value in row.items()}
        self._file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Do nothing: each row is whole."""
