"""The command line of each engine, and what of it fits this machine: pure functions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path

CONTAINER_IMAGE = "openvino/model_server:latest"
STREAMS_PER_CHANNEL = 1000


class EngineKind(StrEnum):
    """What runs the models; `--engine auto` takes the first of these that is there."""

    OVMS = "ovms"
    CONTAINER = "container"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that was chosen: its program, and the reason in half a sentence."""

    kind: EngineKind
    program: Path
    reason: str
    image: str = CONTAINER_IMAGE


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and what it writes to its log."""

    config_path: Path
    port: int
    rest_port: int
    host: str = "127.0.0.1"
    log_level: str = "INFO"


def server_flags(listening: Listening) -> list[str]:
    """Return the flags of a server, for whichever engine: all have those of `ovms`."""
    return [
        *("--config_path", str(listening.config_path)),
        *("--port", str(listening.port)),
        *("--rest_port", str(listening.rest_port)),
        *("--grpc_bind_address", listening.host),
        *("--rest_bind_address", listening.host),
        *("--grpc_channel_arguments", f"grpc.max_concurrent_streams={STREAMS_PER_CHANNEL}"),
        "--metrics_enable",
        *("--log_level", listening.log_level),
    ]


def command_line(engine: Engine, listening: Listening) -> list[str]:
    """Return the whole command that serves the models of a `config.json`."""
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
    inside = Listening(
        listening.config_path, listening.port, listening.rest_port, "0.0.0.0", listening.log_level
    )
    published = [
        part
        for port in (listening.port, listening.rest_port)
        for part in ("--publish", f"{listening.host}:{port}:{port}")
    ]
    return [
        *(str(engine.program), "run", "--rm", "--init", *published),
        *("--volume", f"{repository}:{repository}:ro", engine.image),
        *server_flags(inside),
    ]


@cache
def known_flags() -> Mapping[str, frozenset[str]]:
    """Return the flags that each supported version of OVMS knows, by version, without dashes."""
    text = (resources.files("bertqa_serve") / "ovms_flags.json").read_text(encoding="utf-8")
    return {version: frozenset(flags) for version, flags in json.loads(text)["versions"].items()}


def unknown_flags(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Find flags in a server's arguments that a supported version of OVMS does not know.

    Gives the flags by the version that lacks them; empty where all know all.
    """
    given = [a.removeprefix("--").partition("=")[0] for a in arguments if a.startswith("--")]
    lacking = {
        version: [flag for flag in given if flag not in known]
        for version, known in known_flags().items()
    }
    return {version: flags for version, flags in lacking.items() if flags}


def local_program() -> Path:
    """Return the Python that runs this, which has the local engine installed."""
    return Path(sys.executable)
