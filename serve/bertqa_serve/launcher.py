"""Starting a server on a model repository: choosing the engine, waiting for it, ending it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from bertqa.artifact import GRPC_PORT, REST_PORT, Repository, complete_config, usable_cores
from bertqa.errors import ModelLoadError
from bertqa_serve.command import (
    CONTAINER_IMAGE,
    Engine,
    EngineKind,
    Listening,
    command_line,
    local_program,
)
from bertqa_serve.errors import (
    EngineNotFoundError,
    PortInUseError,
    RepositoryMissingError,
    ServeError,
    ServerDiedError,
)
from bertqa_serve.warm_up import warm_up

OVMS_BINARY = "OVMS_BINARY"
_CONTAINER_PROGRAMS = ("docker", "podman")
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_LOOK_SECONDS = 0.1
_LINGER_SECONDS = 70.0
_STOP_SECONDS = 30.0
_LAST_LINES = 20

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve, where, and with which engine ("auto", "ovms", "container" or "local").

    A server that does not answer for `model` within `ready_seconds` is ended.
    """

    repository: Path
    engine: str = "auto"
    ovms_path: Path | None = None
    model: str = "bert-qa"
    host: str = "127.0.0.1"
    port: int = GRPC_PORT
    rest_port: int = REST_PORT
    warm_up: bool = True
    log_level: str = "INFO"
    image: str = CONTAINER_IMAGE
    ready_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers: its engine, where it listens, and its process."""

    engine: Engine
    grpc_url: str
    rest_url: str
    process: subprocess.Popen[str]
    last_lines: deque[str] = field(repr=False)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the server ends by itself. Raises ServerDiedError when it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
            raise _died(self.engine, self.process, self.last_lines)


def choose_engine(
    requested: str = "auto",
    ovms_path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    image: str = CONTAINER_IMAGE,
) -> Engine:
    """Choose what serves: a real `ovms`, else its container image, else the local engine.

    Raises EngineNotFoundError where an engine was asked for that is not there.
    """
    environment = os.environ if environment is None else environment
    kind = None if requested == "auto" else _kind(requested)
    if kind in (None, EngineKind.OVMS):
        found = _find_ovms(ovms_path, environment)
        if found:
            return found
        if kind:
            raise EngineNotFoundError(
                f"There is no ovms: give --ovms PATH, set {OVMS_BINARY}, or put it on PATH."
            )
    if kind in (None, EngineKind.CONTAINER):
        found = _find_container(environment, image)
        if found:
            return found
        if kind:
            raise EngineNotFoundError(
                f"Neither docker nor podman runs here with the image {image}: "
                f"`docker pull {image}` gets it."
            )
    reason = "it was asked for" if kind else "there is neither an ovms nor its container image"
    return Engine(EngineKind.LOCAL, local_program(), reason)


def dry_run(options: ServeOptions) -> list[str]:
    """Return the command that `serve` would run; starts and writes nothing. Raises ServeError."""
    engine = choose_engine(options.engine, options.ovms_path, image=options.image)
    return command_line(engine, _listening(options, print, dry_run=True))


def serve(
    options: ServeOptions,
    *,
    log: Log = print,
    on_ready: Callable[[Running], None] = lambda _: None,
) -> int:
    """Serve until SIGINT or SIGTERM and give 0. Call it in the main thread.

    `log` gets each line that the server writes; `on_ready` is called when the model answers and is
    warm. Raises ServeError for what is wrong before or at the start, or if the server dies.
    """
    # Nothing here may wait for the event: a handler that sets it would wait for its own thread.
    asked_to_end = threading.Event()

    def end(_: int, __: FrameType | None) -> None:
        asked_to_end.set()

    with _signals(end), running(options, log=log, asked_to_end=asked_to_end) as server:
        if not asked_to_end.is_set():
            on_ready(server)
        while not asked_to_end.is_set():
            server.wait(timeout=_LOOK_SECONDS)
    return 0


@contextmanager
def running(
    options: ServeOptions, *, log: Log = print, asked_to_end: threading.Event | None = None
) -> Iterator[Running]:
    """Have a server that answers, and is warm, inside the block; it has ended afterwards.

    Setting `asked_to_end` cuts the start short. Raises ServeError.
    """
    asked_to_end = asked_to_end or threading.Event()
    engine = choose_engine(options.engine, options.ovms_path, image=options.image)
    listening = _listening(options, log)
    for port in (options.port, options.rest_port):
        _require_free(engine, options.host, port)
    log(f"Serving with {engine.kind} ({engine.reason}).")
    process = subprocess.Popen(
        command_line(engine, listening),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(engine),
        start_new_session=True,  # Ctrl-C is for this process, which then ends the server.
    )
    last_lines: deque[str] = deque(maxlen=_LAST_LINES)
    reader = threading.Thread(target=_pass_on, args=(process, log, last_lines), daemon=True)
    reader.start()
    try:
        host = _ANY_ADDRESS.get(options.host, options.host)
        host = f"[{host}]" if ":" in host else host
        rest_url = f"http://{host}:{options.rest_port}"
        server = Running(engine, f"{host}:{options.port}", rest_url, process, last_lines)
        _wait_until_ready(server, options, asked_to_end)
        if options.warm_up and not asked_to_end.is_set():
            _warm_up(server, options.model, log)
        yield server
    finally:
        _end(process)
        reader.join(_STOP_SECONDS)


def _kind(requested: str) -> EngineKind:
    try:
        return EngineKind(requested)
    except ValueError as error:
        choices = ", ".join(("auto", *EngineKind))
        raise EngineNotFoundError(
            f"There is no engine {requested}; choose of {choices}."
        ) from error


def _find_ovms(ovms_path: Path | None, environment: Mapping[str, str]) -> Engine | None:
    named = {"--ovms names it": ovms_path, f"{OVMS_BINARY} names it": environment.get(OVMS_BINARY)}
    for reason, path in named.items():
        if path:
            if not os.access(path, os.X_OK) or not Path(path).is_file():
                raise EngineNotFoundError(f"{path} is no program that can be run ({reason}).")
            return Engine(EngineKind.OVMS, Path(path).absolute(), reason)
    on_path = shutil.which("ovms", path=environment.get("PATH", ""))
    return Engine(EngineKind.OVMS, Path(on_path), "it is on PATH") if on_path else None


def _find_container(environment: Mapping[str, str], image: str) -> Engine | None:
    for name in _CONTAINER_PROGRAMS:
        program = shutil.which(name, path=environment.get("PATH", ""))
        if not program:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            inspected = subprocess.run(
                [program, "image", "inspect", image], capture_output=True, timeout=20, check=False
            )
            if inspected.returncode == 0:
                return Engine(EngineKind.CONTAINER, Path(program), f"{name} has {image}", image)
    return None


def _listening(options: ServeOptions, log: Log, *, dry_run: bool = False) -> Listening:
    config_path = complete_config(
        Repository(options.repository),
        options.model,
        usable_cores(),
        dry_run=dry_run,
        log=log,
        on_progress=lambda progress: log(progress.stage),
    )
    return Listening(config_path, options.port, options.rest_port, options.host, options.log_level)


def _require_free(engine: Engine, host: str, port: int) -> None:
    """Refuse a port that another process listens on, before anything is started.

    After a restart, connections of the server before may linger; `ovms` does not take their port.
    """
    try:
        _bind(host, port, among_lingering=True)
    except OSError as error:
        raise PortInUseError(
            f"Port {port} on {host} cannot be used: {error.strerror}. "
            "Give another with --port and --rest-port.",
            detail=str(error),
        ) from error
    deadline = time.monotonic() + _LINGER_SECONDS
    while engine.kind is EngineKind.OVMS and time.monotonic() < deadline:
        try:
            _bind(host, port, among_lingering=False)
            break
        except OSError:
            time.sleep(_LOOK_SECONDS)


def _bind(host: str, port: int, *, among_lingering: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(among_lingering))
        probe.bind((host, port))


def _environment(engine: Engine) -> dict[str, str]:
    """The release archive of OVMS keeps its libraries beside its program: let it find them."""
    environment = dict(os.environ)
    libraries = engine.program.parent.parent / "lib"
    if engine.kind is EngineKind.OVMS and any(libraries.glob("libopenvino*.so*")):
        known = filter(None, (str(libraries), environment.get("LD_LIBRARY_PATH")))
        environment["LD_LIBRARY_PATH"] = ":".join(known)
    return environment


def _pass_on(process: subprocess.Popen[str], log: Log, last_lines: deque[str]) -> None:
    """Read on even where nobody listens any more: a full pipe would stop the server."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            last_lines.append(line.rstrip())
            with contextlib.suppress(OSError, ValueError):
                log(line.rstrip())


def _wait_until_ready(
    server: Running, options: ServeOptions, asked_to_end: threading.Event
) -> None:
    deadline = time.monotonic() + options.ready_seconds
    with httpx.Client(base_url=server.rest_url, timeout=5.0, trust_env=False) as client:
        while not asked_to_end.is_set():
            server.wait(timeout=_LOOK_SECONDS)
            with contextlib.suppress(httpx.TransportError):
                # A model is ready with its first version, the server when the first load is over.
                if client.get("/v2/health/ready").status_code == 200:
                    if client.get(f"/v2/models/{options.model}/ready").status_code == 200:
                        return
                    status = client.get("/v1/config").json()
                    _refuse_what_cannot_become_ready(options, status, server.last_lines)
            if time.monotonic() > deadline:
                raise ServerDiedError(
                    f"{options.model} was not ready after {options.ready_seconds:.0f} seconds.",
                    detail="\n".join(server.last_lines),
                )


def _refuse_what_cannot_become_ready(
    options: ServeOptions, status: Mapping[str, Any], last_lines: deque[str]
) -> None:
    """A server is ready when the first load is over: what does not answer then has failed."""
    if options.model not in status:
        known = ", ".join(status) or "none"
        raise RepositoryMissingError(
            f"The config.json of {options.repository} has no {options.model} (it has: {known})."
        )
    versions = status[options.model]["model_version_status"]
    if not versions:
        raise RepositoryMissingError(
            f"{options.repository} has no version of {options.model} to serve. "
            "`bert-qa build` makes one."
        )
    if any(version["status"]["error_code"] != "OK" for version in versions):
        numbers = ", ".join(version["version"] for version in versions)
        raise ModelLoadError(
            f"No version of {options.model} could be loaded (tried: {numbers}); they are damaged, "
            "or made for another OpenVINO.",
            detail="\n".join(last_lines),
        )


def _warm_up(server: Running, model: str, log: Log) -> None:
    started = time.monotonic()
    try:
        answered = warm_up(server.rest_url, model, log)
    except httpx.HTTPError as error:
        server.wait(timeout=1.0)
        raise ServeError(f"{model} does not answer as it should: {error}.") from error
    log(f"Warmed up with {answered} requests in {time.monotonic() - started:.1f} s.")


def _died(
    engine: Engine, process: subprocess.Popen[str], last_lines: deque[str]
) -> ServerDiedError:
    time.sleep(_LOOK_SECONDS)  # Its last words may still be on their way.
    said = "\n".join(last_lines) or "nothing"
    return ServerDiedError(
        f"The server ({engine.kind}) ended by itself with status {process.returncode}. It said:\n"
        f"{said}",
        detail=said,
    )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
