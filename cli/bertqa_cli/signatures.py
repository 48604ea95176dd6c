"""The options of signatures, and the keys that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from bertqa.artifact import SigningKey, VerifyKey

Key = TypeVar("Key", SigningKey, VerifyKey)

Sign = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY",
        exists=True,
        dir_okay=False,
        help="Sign what is published: a PEM file with a private key on an elliptic curve.",
    ),
]
VerifyWith = Annotated[
    Path | None,
    typer.Option(
        "--verify-key",
        metavar="PUBLIC",
        exists=True,
        dir_okay=False,
        help="Refuse what this key did not sign, or was changed since: a PEM file, public.",
    ),
]


def read_key(kind: type[Key], path: Path | None) -> Key | None:
    """Return the key that --sign or --verify-key names, read before any work.

    Args:
        kind: Which key it is.
        path: The file; None where the option was left out.

    Returns:
        The key; None where the option was left out.

    Raises:
        InvalidOptionError: It holds no such key.
        ModuleNotFoundError: The extra `sign` is not installed.
    """
    return None if path is None else kind(path)
