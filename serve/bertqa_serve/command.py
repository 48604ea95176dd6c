"""The command line of each engine, and what of it depends on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path

from bertqa.artifact import ServerSettings

# The version that the chart runs by default.
CONTAINER_IMAGE = "openvino/model_server:2026.4.1"
_HELP_SECONDS = 20.0
# Descriptions, which may name other options, are indented further.
_OPTION_IN_HELP = re.compile(r"^ {2,8}(?:-\w, )?--([a-z][\w-]*)", re.MULTILINE)


class EngineKind(StrEnum):
    """The program that runs the models; `--engine auto` takes the first one on this machine."""

    OVMS = "ovms"
    CONTAINER = "container"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that was chosen: its program, the reason as a clause, and a container's image."""

    kind: EngineKind
    program: Path
    reason: str
    image: str = CONTAINER_IMAGE


@dataclass(frozen=True, slots=True)
class Listening:
    """Which configuration a server reads, where it listens, its settings, and a user's options."""

    config_path: Path
    port: int
    rest_port: int
    settings: ServerSettings
    host: str = "127.0.0.1"
    own: tuple[str, ...] = ()


def server_flags(listening: Listening) -> dict[str, str | None]:
    """Return the options of a server: every engine takes those of `ovms`.

    Args:
        listening: What the server reads, where it listens, and its settings.

    Returns:
        The values by the names of the options, without dashes; None for an option without one.
    """
    return {
        "config_path": str(listening.config_path),
        "port": str(listening.port),
        "rest_port": str(listening.rest_port),
        "grpc_bind_address": listening.host,
        "rest_bind_address": listening.host,
        **listening.settings.flags(),
        "metrics_enable": None,
    }


def command_line(engine: Engine, listening: Listening, unknown: Collection[str] = ()) -> list[str]:
    """Return the program and the arguments that serve the models of a `config.json`.

    Args:
        engine: What runs the models.
        listening: What the server reads, where it listens, and its settings.
        unknown: The options that the engine does not know; see `unknown_to`.

    Returns:
        The command line.
    """
    inside = listening
    if engine.kind is EngineKind.CONTAINER:
        inside = replace(listening, host="0.0.0.0")
    without = {*unknown, *option_names(listening.own)}
    options = {
        f"--{name}": value for name, value in server_flags(inside).items() if name not in without
    }
    arguments = [part for option in options.items() for part in option if part is not None]
    arguments += listening.own
    match engine.kind:
        case EngineKind.OVMS:
            return [str(engine.program), *arguments]
        case EngineKind.LOCAL:
            return [str(engine.program), "-m", "bertqa_serve.engine", *arguments]
        case EngineKind.CONTAINER:
            return [*_container_command(engine, listening), *arguments]


def _container_command(engine: Engine, listening: Listening) -> list[str]:
    """Run the image with the repository at its own path, so that absolute paths hold inside."""
    repository = listening.config_path.parent
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    published = [
        part
        for port in (listening.port, listening.rest_port)
        for part in ("--publish", f"{host}:{port}:{port}")
    ]
    return [
        *(str(engine.program), "run", "--rm", "--init", *published),
        # SELinux keeps a container from files that are not labelled for it, which `z` does.
        *("--volume", f"{repository}:{repository}:ro,z", engine.image),
    ]


def environment_of(engine: Engine) -> dict[str, str]:
    """Return the environment of an engine: `ovms` finds the libraries of its release archive.

    Args:
        engine: What runs the models.

    Returns:
        The variables of this process, with the libraries beside the program on the search path.
    """
    environment = dict(os.environ)
    libraries = engine.program.parent.parent / "lib"
    if engine.kind is EngineKind.OVMS and any(libraries.glob("libopenvino*.so*")):
        known = filter(None, (str(libraries), environment.get("LD_LIBRARY_PATH")))
        environment["LD_LIBRARY_PATH"] = ":".join(known)
    return environment


def unknown_to(engine: Engine, listening: Listening) -> list[str]:
    """Find the options that an engine of another release does not know.

    A program is asked for its help, an image is looked up by the version in its tag. Where neither
    says anything, the engine counts as one that knows all.

    Args:
        engine: What runs the models.
        listening: What the server reads, where it listens, and its settings.

    Returns:
        The names of the options, without dashes.
    """
    known: frozenset[str] = frozenset()
    if engine.kind is EngineKind.OVMS:
        known = _flags_in_help(engine)
    elif engine.kind is EngineKind.CONTAINER:
        known = _flags_of_tag(engine.image.rpartition(":")[2])
    return [flag for flag in server_flags(listening) if known and flag not in known]


def _flags_in_help(engine: Engine) -> frozenset[str]:
    # Some builds print their help and then fail: what they have printed counts.
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(
            [str(engine.program), "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HELP_SECONDS,
            check=False,
            env=environment_of(engine),
        )
        found = frozenset(_OPTION_IN_HELP.findall(asked.stdout + asked.stderr))
        # Text that does not name the first option of all releases is not the help of `ovms`.
        if "config_path" in found:
            return found
    return frozenset()


def _flags_of_tag(tag: str) -> frozenset[str]:
    for version, flags in known_flags().items():
        number, _, _ = version.partition(" ")
        if re.match(rf"{re.escape(number)}(?![0-9])", tag):
            return flags
    return frozenset()


@cache
def known_flags() -> Mapping[str, frozenset[str]]:
    """Return the flags that each supported version of OVMS knows, by version, without dashes."""
    text = (resources.files("bertqa_serve") / "ovms_flags.json").read_text(encoding="utf-8")
    return {version: frozenset(flags) for version, flags in json.loads(text)["versions"].items()}


def unknown_flags(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Find flags in a server's arguments that a supported version of OVMS does not know.

    Args:
        arguments: A command line, in which flags begin with two dashes.

    Returns:
        The unknown flags by the version that lacks them; empty where every version knows all.
    """
    lacking = {
        version: [flag for flag in option_names(arguments) if flag not in known]
        for version, known in known_flags().items()
    }
    return {version: flags for version, flags in lacking.items() if flags}


def option_names(arguments: Sequence[str]) -> list[str]:
    """Return the names of the options in a command line.

    Args:
        arguments: The command line, in which options begin with two dashes.

    Returns:
        The names without dashes, in their order.
    """
    return [each[2:].partition("=")[0] for each in arguments if each.startswith("--")]


def local_program() -> Path:
    """Return this process's Python, which has the local engine installed."""
    return Path(sys.executable)
