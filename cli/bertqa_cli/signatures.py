"""The options of signatures, and the keys that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bertqa.artifact import SigningKey, VerifyKey

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


def signing_key(path: Path | None) -> SigningKey | None:
    """Return the key that --sign names, read before any work; None where it does not.

    Args:
        path: The file.

    Raises:
        InvalidOptionError: It holds no such key.
        ModuleNotFoundError: The extra `sign` is not installed.
    """
    return None if path is None else SigningKey(path)


def verify_key(path: Path | None) -> VerifyKey | None:
    """Return the key that --verify-key names, read before any work; None where it does not.

    Args:
        path: The file.

    Raises:
        InvalidOptionError: It holds no such key.
        ModuleNotFoundError: The extra `sign` is not installed.
    """
    return None if path is None else VerifyKey(path)
