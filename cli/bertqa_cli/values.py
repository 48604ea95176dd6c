"""Numbers and files on the command line: a wrong one is refused before any work."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import click
import typer

from bertqa.artifact import write_whole
from bertqa_cli.errors import CommandError

# Python's int and float read more than people type: "１", "1_000", "+1", " 1", "nan".
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Whole(click.IntRange):
    """A whole number in ASCII digits, which fits 64 bits."""

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number. Raises click.BadParameter."""
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is not a whole number of at most 18 digits.", param, ctx)
        return int(super().convert(value, param, ctx))


class Decimal(click.FloatRange):
    """A number in ASCII digits, with or without decimals."""

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. Raises click.BadParameter."""
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            self.fail(f"{value!r} is not a number such as 2 or 2.5.", param, ctx)
        return float(super().convert(value, param, ctx))


def version_number(text: str) -> int | None:
    """Return the version that a text is the number of, None where it is something else."""
    return int(text) if _VERSION.fullmatch(text) else None


def output_file(path: Path | None) -> Path | None:
    """Check an option's file before the work whose result goes there.

    Returns:
        The path as it was given.

    Raises:
        typer.BadParameter: The file cannot be written.
    """
    if path is None:
        return None
    try:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a directory; it has to be a file.")
        parent = path.absolute().parent
        if not parent.is_dir():
            raise typer.BadParameter(
                f"{path} cannot be written: there is no directory {path.parent}."
            )
        if not _is_writable(path, parent):
            raise typer.BadParameter(f"{path} cannot be written: permission denied.")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}.") from error
    return path


def write_output(path: Path, text: str) -> None:
    """Write a result, whole or not at all; a device or a pipe is written to, never replaced.

    Raises:
        CommandError: It cannot be written.
    """
    try:
        if _is_special(path):
            path.write_text(text, encoding="utf-8")
        else:
            write_whole(path, text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error


def _is_writable(path: Path, parent: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    if _is_special(path):
        return os.access(path, os.W_OK, effective_ids=effective)
    # A file is replaced by a rename, which is a matter of its directory.
    return os.access(parent, os.W_OK | os.X_OK, effective_ids=effective)


def _is_special(path: Path) -> bool:
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)
