"""Running the HTTP API: in one process or several, until it is stopped."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bertqa.errors import BertQAError
from bertqa_serve.errors import ServerDiedError
from bertqa_serve.http_api.app import create_app
from bertqa_serve.http_api.backend import Backend
from bertqa_serve.http_api.connections import PatientProtocol, listener
from bertqa_serve.http_api.logs import log_to_stderr
from bertqa_serve.http_api.metrics import MULTIPROCESS
from bertqa_serve.http_api.options import HttpApiOptions
from bertqa_serve.signals import ending_by

logger = logging.getLogger(__name__)

_START_SECONDS = 300.0
# After how long without a sign of life a worker is replaced: a busy machine is no reason.
_SILENT_SECONDS = 60
_END_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_KEEP_ALIVE_SECONDS = 75

OnReady = Callable[[str], None]


def serve_http_api(
    options: HttpApiOptions, *, backend: Backend | None = None, on_ready: OnReady = lambda _: None
) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight. It is for the main thread.

    Args:
        options: How it is run.
        backend: What answers, for one process; by default the server that the options name.
        on_ready: Called with the address when it can be asked.

    Raises:
        PortInUseError: Another process listens on the port.
        BertQAError: It cannot start.
    """
    with contextlib.closing(listener(options.host, options.port)) as opened:
        options = replace(options, port=opened.getsockname()[1])
        _run(options, opened, backend, lambda: on_ready(options.url))


@contextmanager
def http_api_beside(options: HttpApiOptions) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve in a process of its own inside the block, after which it answers what is in flight.

    Args:
        options: How it is run.

    Yields:
        Its address, and a function that raises ServerDiedError where the process has ended by
        itself.

    Raises:
        PortInUseError: Another process listens on the port.
        ServerDiedError: The process ended before it could be asked.
    """
    spawning = multiprocessing.get_context("spawn")
    ready, here = spawning.Pipe()
    with contextlib.closing(listener(options.host, options.port)) as opened:
        options = replace(options, port=opened.getsockname()[1])
        process = spawning.Process(target=_run_beside, args=(options, opened, here))
        # Ctrl-C is for this process, which then ends that one: from its first moment on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    here.close()

    def check() -> None:
        if process.exitcode is not None:
            raise ServerDiedError(
                f"The HTTP API ended by itself with status {process.exitcode}; see its log above."
            )

    try:
        if not ready.poll(_START_SECONDS):
            raise ServerDiedError("The HTTP API did not start in time.")
        try:
            ready.recv()
        except EOFError:
            process.join(_END_SECONDS)
            check()
            raise ServerDiedError(
                "The HTTP API ended before it could be asked; see its log above."
            ) from None
        check()
        yield options.url, check
    finally:
        process.terminate()
        process.join(options.drain_seconds + _END_SECONDS)
        process.kill()
        process.join()


def _run_beside(options: HttpApiOptions, opened: socket.socket, ready: Connection) -> None:
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run(options, opened, None, lambda: ready.send(True))
    except BertQAError as error:
        logger.error("%s", error)
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(
    options: HttpApiOptions,
    opened: socket.socket,
    backend: Backend | None,
    on_ready: Callable[[], None],
) -> None:
    if options.workers == 1:
        log_to_stderr(options.log_level)
        failures: list[BertQAError] = []
        config = uvicorn_config(partial(create_app, options, backend, failures.append), options)
        try:
            _Server(config, on_ready).run([opened])
        except SystemExit:
            if not failures:
                raise
            raise failures[0] from None
        return
    with tempfile.TemporaryDirectory(prefix="bertqa-metrics-") as directory:
        os.environ[MULTIPROCESS] = directory
        workers = _Workers(uvicorn_config(partial(_worker, options), options), [opened], on_ready)
        try:
            workers.run()
        finally:
            del os.environ[MULTIPROCESS]
        if any(each.exitcode == STARTUP_FAILURE for each in workers.processes):
            raise ServerDiedError("A process of the HTTP API could not start; see its log above.")


def _worker(options: HttpApiOptions) -> ASGIApp:
    log_to_stderr(options.log_level)
    return create_app(options, on_failure=lambda error: logger.error("%s", error))


def uvicorn_config(application: Callable[[], ASGIApp], options: HttpApiOptions) -> uvicorn.Config:
    """Return how uvicorn is run.

    Args:
        application: Returns the application, in the process that runs it.
        options: How the HTTP API is run.
    """
    return uvicorn.Config(
        application,
        factory=True,
        # The loop that the client is tested in, whatever else is installed.
        loop="asyncio",
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        workers=options.workers,
        timeout_worker_healthcheck=_SILENT_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(round(options.drain_seconds), 1),
    )


class _Server(uvicorn.Server):
    """A server that reports when it can be asked, and returns at a signal as at any other end."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End gracefully at the first signal, and at once at the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(_: int, __: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

        with ending_by(end):
            yield


class _Workers(Multiprocess):
    """Several processes on one socket; one that dies is replaced."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._on_ready = on_ready

    def init_processes(self) -> None:
        """Start the processes, and report when they can be asked; see `Multiprocess`."""
        super().init_processes()
        if all(each.wait_until_ready(_START_SECONDS, self.should_exit) for each in self.processes):
            self._on_ready()

    def terminate_all(self) -> None:
        """End the processes, and refuse what would wait for one; see `Multiprocess`."""
        for each in self.sockets:
            each.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the processes, which a further signal ends at once; see `Multiprocess`."""
        while any(each.exitcode is None for each in self.processes):
            if self.signal_queue:
                for each in self.processes:
                    each.kill()
            time.sleep(_LOOK_SECONDS)
        super().join_all()
