"""Running a server on a model repository: starting it, waiting until it is ready, stopping it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import (
    OvmsConfig,
    Repository,
    complete_config,
    usable_cores,
)
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ModelLoadError,
    ProtocolError,
    RepositoryError,
    ServerUnreachableError,
)
from bertqa.transport import AdminClient, rest_address, warm_up
from bertqa_serve.command import (
    Engine,
    EngineKind,
    Listening,
    command_line,
    environment_of,
    unknown_to,
)
from bertqa_serve.errors import ServeError, ServerDiedError
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import reachable, require_free, wait_until_released
from bertqa_serve.selection import choose_engine
from bertqa_serve.signals import ending_by
from bertqa_serve.signed import SignedVersions

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_WARM_UP_SECONDS = 300.0
_STOP_SECONDS = 30.0
_QUIET_STOP_SECONDS = 3.0
_LOG_TAIL_LINES = 20

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready: its engine, where it listens, its process, and its last log lines."""

    engine: Engine
    grpc_url: str
    rest_url: str
    process: subprocess.Popen[str]
    log_tail: deque[str] = field(repr=False)

    def wait(self, timeout: float | None = None) -> None:
        """Return after so many seconds if the server still runs then.

        Raises:
            ServerDiedError: The server ended by itself.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
            raise _died(self)


Beside = Callable[[Running], AbstractContextManager[Callable[[], None]]]
"""Runs something as long as a server runs; see `serve`."""


class _StopRequestedError(Exception):
    """The server is to stop before it is warm."""


def dry_run(options: ServeOptions, *, log: Log = print) -> list[str]:
    """Return the command that `serve` would run; starts no server and writes nothing.

    Args:
        options: What to serve.
        log: Called with a sentence for each setting that contradicts another, or is left out.

    Returns:
        The program and its arguments.

    Raises:
        ConfigError: A setting has a value that the server cannot have.
        ServeError: The engine is missing.
        RepositoryError: There is no repository, or nothing in it to serve, or its `config.json`
            cannot be read.
        SignatureError: A version that is served is not signed as it has to be.
    """
    engine = choose_engine(options.engine, options.ovms_path, image=options.image)
    return _command(engine, _listening(options, log, dry_run=True), log)


def serve(
    options: ServeOptions,
    *,
    log: Log = print,
    beside: Beside = lambda _: nullcontext(lambda: None),
    on_progress: OnProgress = ignore,
) -> int:
    """Serve until SIGINT or SIGTERM. It has to be called in the main thread.

    Args:
        options: What to serve.
        log: Is called with each line that the server writes.
        beside: Is called when the model answers and is warm. What it returns is open as long as the
            server runs, and is left before the server ends; what that yields is called again and
            again, and may raise an error that ends the server.
        on_progress: Is called with the progress of the warm-up.

    Returns:
        The exit status 0.

    Raises:
        ServeError: The server cannot be started, or ended by itself.
        RepositoryError: There is no repository, or nothing in it to serve, or its `config.json`
            cannot be read or written.
        ModelLoadError: No version of the model could be loaded.
        SignatureError: A version that is served is not signed as it has to be.
    """
    # Nothing here may wait for the event: a handler that sets it would wait for its own thread.
    stop = threading.Event()

    def request_stop(_: int, __: FrameType | None) -> None:
        stop.set()

    with (
        ending_by(request_stop),
        running(options, log=log, on_progress=on_progress, stop=stop) as server,
    ):
        if stop.is_set():
            return 0
        # Its first look is at all of them: they may have changed before the server read them.
        signed = SignedVersions.of(options)
        with beside(server) as check:
            while not stop.is_set():
                server.wait(timeout=_LOOK_SECONDS)
                check()
                signed.look()
    return 0


@contextmanager
def running(
    options: ServeOptions,
    *,
    log: Log = print,
    on_progress: OnProgress = ignore,
    stop: threading.Event | None = None,
) -> Iterator[Running]:
    """Run a server that is ready and warm inside the block, and is stopped after it.

    Args:
        options: What to serve.
        log: Is called with each line that the server writes.
        on_progress: Is called with the progress of the warm-up.
        stop: Setting it cuts the start short; the block is entered even so.

    Yields:
        The server.

    Raises:
        ServeError: The server cannot be started, or ended by itself.
        RepositoryError: There is no repository, or nothing in it to serve, or its `config.json`
            cannot be read or written.
        ModelLoadError: No version of the model could be loaded.
        SignatureError: A version that is served is not signed as it has to be.
    """
    stop = stop or threading.Event()
    engine = choose_engine(options.engine, options.ovms_path, image=options.image)
    listening = _listening(options, log)
    for port in (options.port, options.rest_port):
        require_free(options.host, port)
    if engine.kind is EngineKind.OVMS:
        wait_until_released(options.host, options.port, log=log, stopped=stop.is_set)
    log(f"Serving with {engine.kind} ({engine.reason}).")
    process = subprocess.Popen(
        _command(engine, listening, log),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment_of(engine),
        start_new_session=True,  # Ctrl-C is for this process, which then stops the server.
    )
    log_tail: deque[str] = deque(maxlen=_LOG_TAIL_LINES)
    reader = threading.Thread(target=_forward_log, args=(process, log, log_tail), daemon=True)
    reader.start()
    try:
        host = reachable(options.host)
        rest_url = f"http://{host}:{options.rest_port}"
        server = Running(engine, f"{host}:{options.port}", rest_url, process, log_tail)
        _wait_until_ready(server, options, stop)
        if options.warm_up and not stop.is_set():
            _warm_up(server, options.model, log, on_progress, stop)
        yield server
    finally:
        _terminate(process, log)
        reader.join(_STOP_SECONDS)


def _listening(options: ServeOptions, log: Log, *, dry_run: bool = False) -> Listening:
    settings = options.settings()
    SignedVersions.of(options).check()
    cores = usable_cores()
    given = options.given
    config_path = complete_config(
        Repository(options.repository),
        options.model,
        cores,
        given=given,
        dry_run=dry_run,
        log=log,
        on_progress=lambda progress: log(progress.stage),
    )
    entries = []
    if config_path.exists():
        config = OvmsConfig.read(config_path)
        if not config.has(options.model) and not config.others:  # A graph may have the name.
            known = ", ".join(str(entry.get("name")) for entry in config.entries)
            raise _unknown_model(options, known)
        entries = (config.fitted(cores, given) if dry_run else config).entries
    for conflict in settings.conflicts(*(entry.get("plugin_config", {}) for entry in entries)):
        log(conflict)
    return Listening(
        config_path, options.port, options.rest_port, settings, options.host, options.own
    )


def _command(engine: Engine, listening: Listening, log: Log) -> list[str]:
    """Leave out what an older release does not know, and say so."""
    unknown = unknown_to(engine, listening)
    if unknown:
        names = ", ".join(f"--{name}" for name in unknown)
        log(f"{engine.program.name} does not know {names}: left out, so its own defaults hold.")
    return command_line(engine, listening, unknown)


def _forward_log(process: subprocess.Popen[str], log: Log, log_tail: deque[str]) -> None:
    """Keep reading even where `log` fails: a full pipe would block the server."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            log_tail.append(line.rstrip())
            with contextlib.suppress(OSError, ValueError):
                log(line.rstrip())


def _wait_until_ready(server: Running, options: ServeOptions, stop: threading.Event) -> None:
    deadline = time.monotonic() + options.ready_seconds
    with _admin(server, _ANSWER_SECONDS) as admin:
        while not stop.is_set():
            server.wait(timeout=_LOOK_SECONDS)
            with contextlib.suppress(ServerUnreachableError, DeadlineExceededError, ProtocolError):
                # A model is ready with its first version, the server when the first load is over.
                if admin.is_ready():
                    if admin.is_model_ready(options.model):
                        return
                    _refuse_what_cannot_become_ready(admin, options, server.log_tail)
            if time.monotonic() > deadline:
                raise ServerDiedError(
                    f"{options.model} was not ready after {options.ready_seconds:.0f} seconds.",
                    detail="\n".join(server.log_tail),
                )


def _refuse_what_cannot_become_ready(
    admin: AdminClient, options: ServeOptions, log_tail: deque[str]
) -> None:
    """Raise what is wrong with a model that is not ready although the first load is over."""
    models = admin.models()
    if options.model not in models:
        raise _unknown_model(options, ", ".join(models))
    versions = models[options.model]
    if not versions:
        raise RepositoryError(Repository(options.repository).without(options.model))
    if any(found.error for found in versions.values()):
        numbers = ", ".join(map(str, versions))
        raise ModelLoadError(
            f"No version of {options.model} could be loaded (tried: {numbers}): they are damaged, "
            "or made for another OpenVINO.",
            detail="\n".join(log_tail),
        )


def _unknown_model(options: ServeOptions, known: str) -> RepositoryError:
    return RepositoryError(
        f"The config.json of {options.repository} has no {options.model} (it has: "
        f"{known or 'none'}). --model names another one."
    )


def _warm_up(
    server: Running, model: str, log: Log, on_progress: OnProgress, stop: threading.Event
) -> None:
    def report(progress: Progress) -> None:
        if stop.is_set():
            raise _StopRequestedError
        if progress.total is None:
            log(f"{progress.stage}: {progress.note}.")
        on_progress(progress)

    started = time.monotonic()
    try:
        with _admin(server, _WARM_UP_SECONDS) as admin:
            answered = warm_up(admin, model, on_progress=report)
    except _StopRequestedError:
        return
    except BertQAError as error:
        server.wait(timeout=1.0)
        raise ServeError(
            f"{model} does not answer as it should: {error}", detail=error.detail
        ) from error
    log(f"Warmed up with {answered} requests in {time.monotonic() - started:.1f} s.")


def _admin(server: Running, timeout: float) -> AdminClient:
    return AdminClient(rest_address(server.rest_url), timeout=timeout, direct=True)


def _died(server: Running) -> ServerDiedError:
    time.sleep(_LOOK_SECONDS)  # Its last words may still be on their way.
    program, output = server.engine.program, "\n".join(server.log_tail)
    return ServerDiedError(
        f"The server ({server.engine.kind}) ended by itself with status "
        f"{server.process.returncode}."
        + ("" if output else f" It wrote nothing: is {program} the program of a server?"),
        detail=output or None,
    )


def _terminate(process: subprocess.Popen[str], log: Log) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_QUIET_STOP_SECONDS)
            return
        with contextlib.suppress(OSError, ValueError):
            log(f"Waiting for requests that are still computed, {_STOP_SECONDS:.0f} s at most.")
        process.wait(_STOP_SECONDS - _QUIET_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
