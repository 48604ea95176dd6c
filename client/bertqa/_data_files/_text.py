"""Lines of text, compressed or not, with the number of the line that is damaged."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bertqa._data_files._files import GZIP_FAULTS, encoding_of, unpacked
from bertqa._reason import reason_of
from bertqa.errors import DataError

_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Bytes that are not UTF-8, as `surrogateescape` decodes them; valid UTF-8 has none of these.
_BYTE = re.compile("[\udc80-\udcff]")


@contextmanager
def open_lines(path: Path, name: str) -> Iterator[Iterator[str]]:
    """Open a text file in UTF-8, or in UTF-16 where it begins with its mark; gzip is undone.

    Args:
        path: The file.
        name: What to call it in messages.

    Yields:
        Its lines, with their ends as they are.

    Raises:
        DataError: The file cannot be read, its compressed data are damaged, or a line is not text.
    """
    lines = Lines(name)
    try:
        with (
            path.open("rb") as raw,
            unpacked(raw, name) as content,
            io.TextIOWrapper(
                content,
                encoding=encoding_of(content.peek(4)),
                errors="surrogateescape",
                newline="",
            ) as file,
        ):
            yield lines.checked(file)
    except GZIP_FAULTS as error:
        raise DataError(
            f"{name} is damaged after line {lines.read}: its compressed data are cut short or "
            f"changed ({error})."
        ) from error
    except UnicodeError as error:
        raise DataError(f"{name} is not text after line {lines.read}: {error}.") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {reason_of(error)}.") from error


def has_mark(path: Path) -> bool:
    """Return whether a text file, compressed or not, begins with a byte order mark.

    Args:
        path: The file, which `open_lines` has read.
    """
    with path.open("rb") as raw, unpacked(raw, str(path)) as content:
        return content.peek(4).startswith(_MARKS)


class Lines:
    """Counts the lines of a file, and refuses what is not text.

    Args:
        name: What to call the file in messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.read = 0

    def checked(self, file: IO[str]) -> Iterator[str]:
        """Yield the lines of a file.

        Args:
            file: The file, whose bytes that are not text became lone surrogates.

        Raises:
            DataError: A line holds such a byte, or NUL.
        """
        for line in file:
            self.read += 1
            if not line.isascii() and (found := _BYTE.search(line)):
                raise DataError(
                    f"{self.name} is not UTF-8: line {self.read} holds the byte "
                    f"0x{ord(found[0]) - 0xDC00:02x}. Save it as UTF-8 (in Excel, 'CSV UTF-8')."
                )
            if "\0" in line:
                raise DataError(
                    f"{self.name} is not text: line {self.read} holds a NUL character, as UTF-16 "
                    "has without its mark. Save it as UTF-8."
                )
            # What writes a mark before the one that is there leaves two.
            yield line if self.read > 1 else line.lstrip("\ufeff")
