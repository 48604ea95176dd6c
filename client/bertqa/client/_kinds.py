"""Which of the two clients a function can ask."""

from __future__ import annotations

from bertqa._checks import shown
from bertqa.client._async.client import AsyncQAClient
from bertqa.client._sync.client import QAClient
from bertqa.errors import InvalidOptionError


def check_client(name: str, value: object) -> None:
    """Check that a client is one whose answers need no event loop.

    Args:
        name: The name of the argument.
        value: What was passed.

    Raises:
        InvalidOptionError: It is an `AsyncQAClient`, or no client.
    """
    if isinstance(value, AsyncQAClient):
        raise InvalidOptionError(
            f"{name} is {shown(value)}, whose answers are awaited, and it has to be a QAClient: "
            "open one with the same arguments."
        )
    if not isinstance(value, QAClient):
        raise InvalidOptionError(f"{name} is {shown(value)}, but it has to be a QAClient.")
