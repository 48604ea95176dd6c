"""A bearer token that is kept in a file, where other programs may renew it."""

from __future__ import annotations

from pathlib import Path

from bertqa._reason import check_rereadable, reason_of
from bertqa.errors import InvalidOptionError

_LONGEST = 64 * 1024


class TokenFile:
    """Returns the token that a file holds now, each time it is called.

    Args:
        path: The file.

    Raises:
        InvalidOptionError: The file cannot be read, or holds nothing that can be a token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self()

    def __call__(self) -> str:
        """Read the token, which conventionally ends with a newline.

        Raises:
            InvalidOptionError: The file cannot be read, or holds nothing that can be a token.
        """
        try:
            check_rereadable(self._path)
            with self._path.open(encoding="ascii") as file:
                text = file.read(_LONGEST + 1).strip()
        except OSError as error:
            raise InvalidOptionError(
                f"The token file {self._path} cannot be read: {reason_of(error)}."
            ) from error
        except UnicodeDecodeError as error:
            raise self._unfit() from error
        if not text or len(text) > _LONGEST or not text.isprintable():
            raise self._unfit()
        return text

    def _unfit(self) -> InvalidOptionError:
        return InvalidOptionError(
            f"The token file {self._path} does not hold a token: it has to be one line of "
            "printable ASCII."
        )
