"""The command line of the local engine: the flags of `ovms`, as far as the engine has them."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bertqa._reason import reason_of
from bertqa.artifact import LOG_LEVELS, open_files_limit
from bertqa.errors import ConfigError
from bertqa_serve.engine.config import ServerConfig
from bertqa_serve.engine.limits import (
    FEWEST_REST_WORKERS,
    MOST_REST_WORKERS,
    Limits,
    most_rest_workers,
)
from bertqa_serve.engine.metrics import Metrics
from bertqa_serve.engine.server import VERSION, LocalServer
from bertqa_serve.errors import UsageError

logger = logging.getLogger("bertqa_serve")

_SINGLE_MODEL = (
    "batch_size",
    "shape",
    "model_version_policy",
    "nireq",
    "target_device",
    "plugin_config",
)
# OVMS's words.
_FAILED_TO_PARSE = "error parsing options: Argument ‘{}’ failed to parse"
_WORKERS_WITHOUT_REST = (
    "rest_workers is set but rest_port is not set. rest_port is required to start rest servers"
)
_OUT_OF_RANGE = "{} number out of range from 0 to {}"
_SAME_PORTS = "port and rest_port cannot have the same values"
_LAST_PORT = 65_535
_UNSIGNED_LIMIT = 2**32
_INTEGER = re.compile(r"[-+]?[0-9]+")
_INT_LIMIT = 2**31


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of those flags of ovms that the local engine has."""
    flags = _Parser(
        prog="python -m bertqa_serve.engine",
        description="A development server that answers as OpenVINO Model Server does. It takes the "
        "flags of ovms; those that are not listed here are refused.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--version", action="version", version=VERSION)
    add("--config_path", type=Path, help="config.json of OVMS")
    add("--model_name", help="name of a single model, without config_path")
    add("--model_path", type=Path, help="directory with the versions of a single model")
    add("--port", type=_unsigned, default=0, help="gRPC port; 0 takes a free one")
    add("--rest_port", type=_unsigned, help="REST port; without it no REST; 0 takes a free one")
    add("--grpc_bind_address", default="127.0.0.1", help="where gRPC listens")
    add("--rest_bind_address", default="127.0.0.1", help="where REST listens")
    add("--grpc_channel_arguments", default="", help="such as grpc.max_concurrent_streams=100")
    add("--grpc_max_threads", type=_unsigned, help="gRPC calls at once and one; 0 sets no limit")
    add("--rest_workers", type=_unsigned, help="REST requests at once; default: one per core")
    add("--file_system_poll_wait_seconds", type=_seconds, default=1.0, help="0 looks never")
    add("--log_level", choices=LOG_LEVELS, default="INFO")
    add("--metrics_enable", action="store_true", help="serve /metrics on the REST port")
    add("--metrics_list", default="", help="names of metrics, separated by commas")
    add(
        "--tensorflow_serving_api",
        action="store_true",
        help="also serve the gRPC API that OVMS had up to 2026.2 (ovms has no such flag)",
    )
    add("--batch_size", help="of a single model")
    add("--shape", help="of a single model: (1,8), or JSON by input")
    add("--model_version_policy", type=_json, help='of a single model, such as {"all":{}}')
    add("--nireq", type=int, help="of a single model")
    add("--target_device", help="of a single model")
    add("--plugin_config", type=_json, help='of a single model, such as {"NUM_STREAMS":"2"}')
    return flags


def server_from(options: argparse.Namespace) -> LocalServer:
    """Return the server that a command line asks for, not started yet.

    Args:
        options: What `parse` returned.

    Raises:
        UsageError: The flags do not go together.
        ConfigError: The configuration is missing or wrong.
    """
    single = options.model_name is not None or options.model_path is not None
    if single == (options.config_path is not None):
        raise UsageError("Pass either config_path, or model_name and model_path.")
    if single and not (options.model_name and options.model_path):
        raise UsageError("model_name and model_path go together.")
    if not single and any(getattr(options, name) is not None for name in _SINGLE_MODEL):
        raise UsageError(f"These go with model_path only: {', '.join(_SINGLE_MODEL)}.")
    if options.metrics_enable and options.rest_port is None:
        raise UsageError("metrics_enable needs rest_port.")
    if options.metrics_list and not options.metrics_enable:
        raise UsageError("metrics_list needs metrics_enable.")
    _check_ports(options)
    limits = _limits(options)
    grpc_arguments = _channel_arguments(options.grpc_channel_arguments)
    return LocalServer(
        options.config_path,
        config=_single_model(options) if single else None,
        grpc_port=options.port,
        rest_port=options.rest_port,
        host=options.grpc_bind_address,
        rest_host=options.rest_bind_address,
        poll_seconds=options.file_system_poll_wait_seconds,
        metrics=_metrics(options),
        tensorflow_serving=options.tensorflow_serving_api,
        grpc_arguments=grpc_arguments,
        limits=limits,
    )


def _single_model(options: argparse.Namespace) -> ServerConfig:
    entry: dict[str, Any] = {
        name: getattr(options, name) for name in _SINGLE_MODEL if getattr(options, name) is not None
    }
    if entry.get("shape", "").startswith("{"):
        entry["shape"] = _json(entry["shape"])
    entry |= {"name": options.model_name, "base_path": str(options.model_path.absolute())}
    try:
        return ServerConfig.parse(json.dumps({"model_config_list": [{"config": entry}]}), Path())
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _metrics(options: argparse.Namespace) -> Metrics:
    """Metrics are enabled by flags, or else by `config.json` as it is at the start."""
    if options.metrics_enable or options.config_path is None:
        return Metrics(options.metrics_enable, filter(None, options.metrics_list.split(",")))
    path = options.config_path
    try:
        config = ServerConfig.parse(path.read_text(encoding="utf-8"), path.parent)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}.") from error
    except ConfigError as error:
        raise ConfigError(f"{path} is not a configuration for this server. {error}") from error
    return Metrics(config.metrics_enable, config.metrics_list)


def _check_ports(options: argparse.Namespace) -> None:
    for name in ("port", "rest_port"):
        if (getattr(options, name) or 0) > _LAST_PORT:
            raise UsageError(_OUT_OF_RANGE.format(name, _LAST_PORT))
    if options.port and options.port == options.rest_port:
        raise UsageError(_SAME_PORTS)


def _limits(options: argparse.Namespace) -> Limits:
    """Return the limits that a command line asks for, refused in OVMS's order and words."""
    workers, most = options.rest_workers, most_rest_workers()
    if workers is not None:
        if workers > MOST_REST_WORKERS:
            raise UsageError(
                f"rest_workers count should be from {FEWEST_REST_WORKERS} to {MOST_REST_WORKERS}"
            )
        if workers > most:
            raise UsageError(
                f"rest_workers count cannot be larger than {most} due to open files limit. "
                f"Current open files limit: {open_files_limit()}"
            )
        if options.rest_port is None:
            raise UsageError(_WORKERS_WITHOUT_REST)
    asked = {
        name: value
        for name in ("grpc_max_threads", "rest_workers")
        if (value := getattr(options, name)) is not None
    }
    return Limits(**asked)


def _channel_arguments(text: str) -> Mapping[str, str | int]:
    """Read channel arguments as OVMS does: what begins with a number is one."""
    arguments: dict[str, str | int] = {}
    # A comma at the end is nothing, and one elsewhere is a mistake.
    for pair in text.removesuffix(",").split(",") if text else ():
        parts = pair.replace(" ", "").split("=")
        if len(parts) != 2 or not all(parts):
            raise ConfigError(f"Grpc channel arguments passed in wrong format - {text}")
        name, value = parts
        number = _INTEGER.match(value)
        if number is None:
            arguments[name] = value
        elif abs(int(number[0])) < _INT_LIMIT:
            arguments[name] = int(number[0])
        else:
            logger.warning("Out of range parameter %s : %s", name, value)
    return arguments


def _unsigned(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= _UNSIGNED_LIMIT:
        raise _failed_to_parse(text)
    return int(text)


def _seconds(text: str) -> float:
    """Read seconds; OVMS takes whole ones only."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise _failed_to_parse(text) from error
    if not 0 <= seconds < _UNSIGNED_LIMIT:
        raise _failed_to_parse(text)
    return seconds


def _failed_to_parse(text: str) -> UsageError:
    return UsageError(_FAILED_TO_PARSE.format(text))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid JSON: {error}") from error


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the flags of a command line.

    Raises:
        UsageError: A flag is unknown, or has a value that it cannot have.
    """
    return parser().parse_args(arguments)
