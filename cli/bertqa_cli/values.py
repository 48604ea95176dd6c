"""Numbers and files on the command line: a wrong one is refused before any work."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

import click
import typer
from click.core import ParameterSource

from bertqa._reason import reason_of
from bertqa.artifact import write_whole
from bertqa_cli.errors import CommandError, Status

# Python's int and float read more than people type: "１", "1_000", "+1", " 1", "nan".
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_LONGEST_SECONDS = 365 * 24 * 3600.0
_SECONDS = {None: 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What the repository itself adds to the name of a model.
_TAKEN = ("-onnx", "-traffic", "-trial", ".split", ".rollout.json", ".json")
_SHOWN = 60
_NOT_ALLOWED = "permission denied, or the file system is read-only"
_SOURCES = (
    ParameterSource.COMMANDLINE,
    ParameterSource.ENVIRONMENT,
    ParameterSource.DEFAULT_MAP,
)

# Why a verb refuses options that it would ignore.
FOR_RELEASE = "for a --release."
FOR_SERVER = "for one server, not for a release."
FOR_URL = "for a server: name it with --url."
FOR_CHANGES = "for a switch, and --status changes nothing."


class Whole(click.IntRange):
    """A whole number in ASCII digits, which fits 64 bits."""

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number; see `click.ParamType.convert`."""
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is not a whole number of at most 18 digits.", param, ctx)
        return super().convert(int(value), param, ctx)


class Decimal(click.FloatRange):
    """A number in ASCII digits, with or without decimals."""

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; see `click.ParamType.convert`."""
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            self.fail(f"{value!r} is not a number such as 2 or 2.5.", param, ctx)
        return super().convert(float(value), param, ctx)


class Lines(click.ParamType[str]):
    """A text that may be repeated; in a variable of the environment each has a line of its own.

    Args:
        name: What the text is.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the lines of a variable that hold something."""
        return [line for line in rv.splitlines() if line.strip()]


def precedence(name: str) -> int:
    """Return how near to the user the value of an option of the verb that runs was set, 0 first.

    Args:
        name: The option's name in Python.
    """
    source = _source_of(name) or ParameterSource.COMMANDLINE
    return _SOURCES.index(source) if source in _SOURCES else len(_SOURCES)


def refuse_typed(names: Collection[str], reason: str) -> None:
    """Refuse options that the verb which runs would ignore.

    Args:
        names: The options' names in Python.
        reason: Why, as the end of a sentence whose subject is the options.

    Raises:
        CommandError: One was typed.
    """
    params = click.get_current_context().command.params
    typed = [
        each.opts[0]
        for each in params
        if each.name in names and _source_of(each.name) is ParameterSource.COMMANDLINE
    ]
    if typed:
        verb = "is" if len(typed) == 1 else "are"
        raise CommandError(f"{' and '.join(typed)} {verb} {reason}", status=Status.USAGE)


def refuse_typed_beside(names: Collection[str], reason: str) -> None:
    """Refuse all options of the verb which runs but for these, and `--json`; see `refuse_typed`.

    Args:
        names: The names in Python of the options that are taken.
        reason: Why, as the end of a sentence whose subject is the options.

    Raises:
        CommandError: Another one was typed.
    """
    params = click.get_current_context().command.params
    refuse_typed({each.name for each in params if each.name} - {*names, "json"}, reason)


def _source_of(name: str) -> ParameterSource | None:
    context = click.get_current_context(silent=True)
    return None if context is None else context.get_parameter_source(name)


def seconds_of(text: str | float) -> float:
    """Return a duration in seconds.

    Args:
        text: `90`, `90s`, `100ms`, `2m` or `1.5h`.

    Raises:
        typer.BadParameter: The duration cannot be read.
    """
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise typer.BadParameter(f"The duration {text!r} cannot be read: write 90s, 2m or 1h.")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_SECONDS:
        raise typer.BadParameter(f"The duration {text!r} is longer than a year.")
    return seconds


def timeout_seconds(text: str | float) -> float:
    """Return a duration in seconds, above 0; see `seconds_of`.

    Args:
        text: `90`, `90s`, `2m` or `1.5h`.

    Raises:
        typer.BadParameter: The duration cannot be read, or is 0.
    """
    seconds = seconds_of(text)
    if not seconds:
        raise typer.BadParameter(f"The duration {text!r} has to be above 0.")
    return seconds


def version_number(text: str) -> int | None:
    """Return the version that a text is the number of, None where it is something else."""
    return int(text) if _VERSION.fullmatch(text) else None


def model_name(name: str) -> str:
    """Return a model's name, which is the name of a directory and a part of URLs, as it was given.

    Args:
        name: The name.

    Raises:
        typer.BadParameter: It is neither.
    """
    if "/" in name or name in ("", ".", "..") or not name.isprintable():
        raise typer.BadParameter(f"{name!r} is not the name of a model.")
    return name


def built_name(name: str) -> str:
    """Return the name of a model that is to be published, as it was given.

    Args:
        name: The name.

    Raises:
        typer.BadParameter: OVMS, its REST addresses or the repository cannot have it.
    """
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(
            f"{name[:_SHOWN]!r} cannot be a name in OVMS's addresses and directories: such a "
            "name has letters, digits, '.', '_' and '-', begins with a letter or a digit, and has "
            "100 at most."
        )
    if name.endswith(_TAKEN):
        raise typer.BadParameter(
            f"{name!r} is how the repository calls a part of another model: let it not end in "
            f"{', '.join(_TAKEN)}."
        )
    return name


def output_directory(path: Path) -> Path:
    """Return an option's directory as it was given, checked before the work.

    Args:
        path: The directory, which is made later where it is missing.

    Raises:
        typer.BadParameter: Nothing can be written there.
    """
    try:
        present = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not present.is_dir():
            raise typer.BadParameter(f"{path} cannot be a directory: {present} is a file.")
        if not _may(present, os.W_OK | os.X_OK):
            raise typer.BadParameter(f"{path} cannot be written: {_NOT_ALLOWED}.")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {reason_of(error)}.") from error
    return path


def output_file(path: Path | None) -> Path | None:
    """Return an option's file as it was given, checked before the work whose result goes there.

    Args:
        path: The file, which is replaced where it is there.

    Raises:
        typer.BadParameter: The file cannot be written.
    """
    return _checked(path, is_replaced=True)


def appended_file(path: Path | None) -> Path | None:
    """Return an option's file as it was given, checked before the work that adds lines to it.

    Args:
        path: The file, which stays where it is there.

    Raises:
        typer.BadParameter: The file cannot be written.
    """
    return _checked(path, is_replaced=False)


def svg_file(path: Path | None) -> Path | None:
    """Return an option's file for a figure as it was given, checked as by `output_file`.

    Args:
        path: The file.

    Raises:
        typer.BadParameter: Its name promises another format than SVG, or it cannot be written.
    """
    found = output_file(path)
    if found is not None and found.suffix.lower() not in ("", ".svg"):
        raise typer.BadParameter(
            f"{found} would hold an SVG, whatever it is called: let it end in .svg."
        )
    return found


def write_output(path: Path, text: str) -> None:
    """Write a result, whole or not at all; a device or a pipe is written to, never replaced.

    Args:
        path: The file.
        text: What it is to hold.

    Raises:
        CommandError: It cannot be written.
    """
    try:
        if _is_special(path):
            path.write_text(text, encoding="utf-8")
        else:
            write_whole(path, text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {reason_of(error)}.") from error


def _checked(path: Path | None, *, is_replaced: bool) -> Path | None:
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
        if not _is_writable(path, parent, is_replaced=is_replaced):
            raise typer.BadParameter(f"{path} cannot be written: {_NOT_ALLOWED}.")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {reason_of(error)}.") from error
    return path


def _is_writable(path: Path, parent: Path, *, is_replaced: bool) -> bool:
    # A file is replaced by a rename, which is a matter of its directory.
    is_opened = _is_special(path) if is_replaced else path.exists()
    return _may(path, os.W_OK) if is_opened else _may(parent, os.W_OK | os.X_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _is_special(path: Path) -> bool:
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)
