"""Options that a file sets: `bertqa.toml`, or `[tool.bertqa]` of a `pyproject.toml`.

What is typed comes first, then a variable of the environment, then the file, then the default.
"""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from bertqa._reason import reason_of
from bertqa_cli.catalog import VERBS
from bertqa_cli.errors import CommandError, Status

VARIABLE = "BERTQA_CONFIG"
_FILE = "bertqa.toml"
_PROJECT = "pyproject.toml"
# Outside the table of a verb: what means the same to each verb that has it.
_COMMON = (
    *("url", "metadata-url", "model", "ca", "certificate", "key", "server-name", "token"),
    *("token-file", "header", "timeout", "repository", "work-dir"),
)
_META = "bertqa_cli.settings"


def apply_settings(command: click.Command, context: click.Context) -> None:
    """Let the file set the defaults of a verb's options.

    Args:
        command: The verb.
        context: Its context, which is not parsed yet.

    Raises:
        CommandError: The file cannot be read, or has a key that is not an option.
    """
    found = None if context.resilient_parsing else _settings(Path.cwd())
    if found is None:
        return
    file, settings = found
    _check(file, settings)
    path = context.command_path.split()[1:]
    table: Any = settings
    for name in path:
        table = table.get(name) if isinstance(table.get(name), dict) else {}
    options = {
        name.lstrip("-"): each
        for each in command.params
        if isinstance(each, click.Option)
        for name in each.opts
    }
    below = getattr(command, "commands", {})
    # `serve` has an option with the name of a verb below it.
    own = {
        key: value
        for key, value in table.items()
        if key not in below or not isinstance(value, dict)
    }
    unknown = next((key for key in own if key not in options), None)
    if unknown is not None and table is not settings:
        raise _unknown(file, unknown, options, f"[{'.'.join(path)}]")
    common = {key: settings[key] for key in _COMMON if key in settings}
    given = {**{key: value for key, value in common.items() if key in options}, **own}
    context.default_map = {
        options[key].name or "": _as_typed(file, key, value, options[key])
        for key, value in given.items()
    }
    context.meta[_META] = file


def set_by(context: click.Context) -> Path | None:
    """Return the file that sets options of a verb, None where none does."""
    found: Path | None = context.meta.get(_META)
    return found


def _settings(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the nearest file, from a directory upwards, with what it holds."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return (Path(named), _read(Path(named))) if named else None
    for folder in (directory, *directory.parents):
        if _is_there(folder / _FILE):
            return folder / _FILE, _read(folder / _FILE)
        project = folder / _PROJECT
        tools = _read(project).get("tool") if _is_there(project) else None
        if isinstance(tools, dict) and "bertqa" in tools:
            settings = tools["bertqa"]
            if not isinstance(settings, dict):
                raise _wrong(project, "bertqa", settings, "a table, [tool.bertqa]")
            return project, settings
    return None


def _as_typed(file: Path, key: str, value: object, option: click.Option) -> object:
    """Return what the file has for an option, as it would be typed."""
    if option.is_flag and isinstance(value, bool):
        return value
    values = value if option.multiple and isinstance(value, list) else [value]
    if not all(type(each) in (str, int, float) for each in values):
        kind = "true or false" if option.is_flag else "a text or a number"
        raise _wrong(file, key, value, f"{kind}, or a list of such" if option.multiple else kind)
    texts = [str(each) for each in values]
    return texts if option.multiple else texts[0]


def _is_there(file: Path) -> bool:
    """Return whether there is a file; one in a directory that may not be searched is none."""
    try:
        return file.is_file()
    except PermissionError:
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"{file} cannot be read: {reason_of(error)}.", status=Status.USAGE
        ) from error
    except ValueError as error:
        raise CommandError(f"{file} is not TOML: {error}.", status=Status.USAGE) from error


def _check(file: Path, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, dict) and key not in VERBS:
            raise _unknown(file, key, VERBS, "the tables, which are verbs")
        if not isinstance(value, dict) and key not in _COMMON:
            raise _unknown(
                file, key, _COMMON, "front of the tables, which is for options of several verbs"
            )


def _wrong(file: Path, key: str, value: object, kind: str) -> CommandError:
    shown = str(value).lower() if isinstance(value, bool) else value
    if isinstance(value, list | dict):  # It may hold a token.
        shown = "a list" if isinstance(value, list) else "a table"
    return CommandError(f"{file}: {key!r} is {shown}, and has to be {kind}.", status=Status.USAGE)


def _unknown(file: Path, key: str, known: Any, where: str) -> CommandError:
    meant = get_close_matches(key, [*known], 1)
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    return CommandError(f"{file}: {key!r} is not known in {where}.{hint}", status=Status.USAGE)
