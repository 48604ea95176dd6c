"""Whether a client can still be used."""

from __future__ import annotations

import os

from bertqa.errors import ClientStateError


class Lifetime:
    """The state that a client shares with its copies: closing one of them closes all.

    Attributes:
        is_closed: Whether no more questions are taken; those in flight end with the connections.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._process = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a process that was forked from that of the client."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise what keeps the client from being used.

        Raises:
            ClientStateError: It is closed, or of another process.
        """
        if self.is_closed:
            raise ClientStateError("This client is closed.")
        if self.is_elsewhere:
            raise ClientStateError(
                f"This client was opened in process {self._process}, and this is process "
                f"{os.getpid()}: connections do not survive a fork. Open one in each process."
            )
