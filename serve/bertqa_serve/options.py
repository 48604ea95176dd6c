"""What a server is asked to serve, where, and how."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from bertqa.artifact import (
    GRPC_PORT,
    MODEL_NAME,
    REST_PORT,
    ServerSettings,
    VerifyKey,
    open_files_limit,
    precision_hint,
    server_settings,
    usable_cores,
    usable_memory,
)
from bertqa.errors import InvalidOptionError
from bertqa_serve.command import CONTAINER_IMAGE, option_names
from bertqa_serve.selection import AUTO

# What the launcher has to know: each has an option of its own.
_NOT_OWN = {
    "config_path": "--repository",
    "model_path": "--repository",
    "model_name": "--model",
    "port": "--port",
    "rest_port": "--rest-port",
    "grpc_bind_address": "--host",
    "rest_bind_address": "--host",
}
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve, where, and with which engine.

    Attributes:
        repository: The model repository.
        engine: "auto", "ovms", "container" or "local"; see `choose_engine`.
        ovms_path: The `ovms` program, if it is neither named by OVMS_BINARY nor on PATH.
        model: The model that has to be ready before the server counts as ready.
        verify: The key that all versions have to be signed with that are served, if any.
        host: The address to listen on.
        port: The gRPC port.
        rest_port: The REST port.
        warm_up: Whether to run the model at every length before it counts as ready.
        log_level: What the server logs: TRACE, DEBUG, INFO, WARNING or ERROR.
        image: The image of the container.
        ready_seconds: A server that is not ready after this time is stopped.
        threads: Threads of inference; see `bertqa.artifact.server_settings`, as for all that
            follow. Given threads or streams are written into `config.json`.
        streams: Requests that are computed at once.
        grpc_threads: Threads of the gRPC server.
        concurrent_streams: Calls at once on one gRPC connection.
        rest_workers: Event loops of the REST server.
        poll_seconds: How often the server looks for changes; 0 is never.
        precision: What floating-point operations run in, likewise written into `config.json`.
        own: Further options for `ovms`, as on its command line. They take the place of options of
            the same names.

    Raises:
        InvalidOptionError: The ports are the same, the host is neither an address nor a name, or
            `own` does not begin with an option, or has one that is an option of `bert-qa serve`,
            or, with `verify`, a model cache.
    """

    repository: Path
    engine: str = AUTO
    ovms_path: Path | None = None
    model: str = MODEL_NAME
    verify: VerifyKey | None = None
    host: str = "127.0.0.1"
    port: int = GRPC_PORT
    rest_port: int = REST_PORT
    warm_up: bool = True
    log_level: str = "INFO"
    image: str = CONTAINER_IMAGE
    ready_seconds: float = 600.0
    threads: int | None = None
    streams: int | None = None
    grpc_threads: int | None = None
    concurrent_streams: int | None = None
    rest_workers: int | None = None
    poll_seconds: int | None = None
    precision: str | None = None
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.port == self.rest_port:
            raise InvalidOptionError(
                f"--port and --rest-port are both {self.port}: gRPC and REST each take one of "
                "their own."
            )
        if self.own and not self.own[0].startswith("--"):
            raise InvalidOptionError(
                f"{self.own[0]!r} is not an option of ovms: options of your own follow `--`, as in "
                "`bert-qa serve -- --grpc_memory_quota 1000000000`."
            )
        for name in option_names(self.own):
            if name in _NOT_OWN:
                raise InvalidOptionError(
                    f"Options of your own cannot have --{name}: use {_NOT_OWN[name]} of "
                    "`bert-qa serve`."
                )
            if self.verify and name == "cache_dir":
                raise InvalidOptionError(
                    "Options of your own cannot have --cache_dir with --verify-key: ovms computes "
                    "with the compiled models that are there, which no key has signed."
                )
        if _HOST_NAME.fullmatch(self.host):
            return
        try:
            ipaddress.ip_address(self.host)
        except ValueError as error:
            raise InvalidOptionError(
                f"host is {self.host!r}, but it has to be a name or an IP address, as in 0.0.0.0 "
                "or, without brackets, ::1."
            ) from error

    @property
    def given(self) -> dict[str, str]:
        """OpenVINO's properties that `config.json` is to have, whatever it has."""
        if self.threads or self.streams:
            return self.settings().plugin_config
        return precision_hint(self.precision)

    def settings(self) -> ServerSettings:
        """Return the settings of the server: those that are given, and this machine's.

        Raises:
            ConfigError: A setting has a value that the server cannot have.
        """
        return server_settings(
            usable_cores(),
            usable_memory(),
            open_files=open_files_limit(),
            threads=self.threads,
            streams=self.streams,
            grpc_threads=self.grpc_threads,
            concurrent_streams=self.concurrent_streams,
            rest_workers=self.rest_workers,
            poll_seconds=self.poll_seconds,
            log_level=self.log_level,
            precision=self.precision,
        )
