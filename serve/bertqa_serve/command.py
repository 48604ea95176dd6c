"""The command line of each engine, and what of it depends on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path

# The version that the chart runs by default.
CONTAINER_IMAGE = "openvino/model_server:2026.4.1"
STREAMS_PER_CHANNEL = 1000
# OVMS refuses calls beyond its threads at once: one channel must not meet that limit.
GRPC_THREADS = 1024


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
    """Which configuration a server reads, where it listens, and what it writes to its log."""

    config_path: Path
    port: int
    rest_port: int
    host: str = "127.0.0.1"
    log_level: str = "INFO"


def server_flags(listening: Listening) -> list[str]:
    """Return the flags of a server: every engine takes those of `ovms`."""
    return [
        *("--config_path", str(listening.config_path)),
        *("--port", str(listening.port)),
        *("--rest_port", str(listening.rest_port)),
        *("--grpc_bind_address", listening.host),
        *("--rest_bind_address", listening.host),
        *("--grpc_channel_arguments", f"grpc.max_concurrent_streams={STREAMS_PER_CHANNEL}"),
        *("--grpc_max_threads", str(GRPC_THREADS)),
        "--metrics_enable",
        *("--log_level", listening.log_level),
    ]


def command_line(engine: Engine, listening: Listening) -> list[str]:
    """Return the program and the arguments that serve the models of a `config.json`.

    Args:
        engine: The server's kind, and its program or image.
        listening: Ports, the model repository and the logging of the server.
    """
    match engine.kind:
        case EngineKind.OVMS:
            return [str(engine.program), *server_flags(listening)]
        case EngineKind.LOCAL:
            return [str(engine.program), "-m", "bertqa_serve.engine", *server_flags(listening)]
        case EngineKind.CONTAINER:
            return _container_command(engine, listening)


def _container_command(engine: Engine, listening: Listening) -> list[str]:
    """Run the image with the repository at its own path, so that absolute paths hold inside."""
    repository = listening.config_path.parent
    inside = replace(listening, host="0.0.0.0")
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
        *server_flags(inside),
    ]


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
    given = [a.removeprefix("--").partition("=")[0] for a in arguments if a.startswith("--")]
    lacking = {
        version: [flag for flag in given if flag not in known]
        for version, known in known_flags().items()
    }
    return {version: flags for version, flags in lacking.items() if flags}


def local_program() -> Path:
    """Return this process's Python, which has the local engine installed."""
    return Path(sys.executable)
