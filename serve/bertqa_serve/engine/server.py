"""The local engine as a whole: both front ends and the models, in one event loop of one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import openvino
import uvicorn

from bertqa.runtime.openvino import core
from bertqa_serve.engine.config import ServerConfig
from bertqa_serve.engine.grpc_api import KServeGrpc
from bertqa_serve.engine.limits import GrpcThreads, Limits
from bertqa_serve.engine.manager import ModelManager
from bertqa_serve.engine.metrics import Metrics
from bertqa_serve.engine.rest_api import KServeRest
from bertqa_serve.engine.service import Service
from bertqa_serve.errors import PortInUseError, UsageError

logger = logging.getLogger("bertqa_serve")

GRPC_GRACE_SECONDS = 5.0
STARTING_SECONDS = 0.05  # From REST's first answer until OVMS loads models.
VERSION = f"{openvino.__version__.split('-')[0]}-bert-qa-local"


class LocalServer:
    """Serves the models of a `config.json` over KServe v2, as OVMS does, from this process.

    It runs in a thread of its own. As a context manager it is ready inside the block:

        with LocalServer(config_path=path) as server:
            QAClient(f"localhost:{server.grpc_port}")

    It is for development: OVMS is what runs in production.

    Args:
        config_path: OVMS's `config.json`. Changes of it are applied.
        config: A configuration that never changes, instead of `config_path`.
        grpc_port: The gRPC port. 0 takes a free one, which the attribute `grpc_port` has then.
        rest_port: The REST port, likewise; None serves no REST.
        host: The address that gRPC listens on.
        rest_host: The address that REST listens on, by default `host`.
        poll_seconds: How often to look for changes; 0 looks only at a reload.
        metrics: What counts the requests; by default it counts, and shows nothing.
        grpc_arguments: gRPC's channel arguments, such as `grpc.max_concurrent_streams`. As in
            OVMS, they do not change the size of the largest message.
        limits: How much the server takes at once; by default what OVMS takes on this machine.
        tensorflow_serving: Whether to serve the TensorFlow Serving API over gRPC too, which OVMS
            had up to 2026.2. It needs the package ovmsclient.
    """

    def __init__(
        self,
        config_path: Path | str | None = None,
        *,
        config: ServerConfig | None = None,
        grpc_port: int = 0,
        rest_port: int | None = 0,
        host: str = "127.0.0.1",
        rest_host: str | None = None,
        poll_seconds: float = 1.0,
        metrics: Metrics | None = None,
        grpc_arguments: Mapping[str, str | int] | None = None,
        limits: Limits | None = None,
        tensorflow_serving: bool = False,
    ) -> None:
        if (config_path is None) == (config is None):
            raise ValueError("LocalServer takes either config_path or config.")
        self.grpc_port = grpc_port
        self.rest_port = rest_port
        self._source = config if config is not None else Path(str(config_path)).absolute()
        self._host = host
        self._rest_host = rest_host or host
        self._poll_seconds = poll_seconds
        self._metrics = metrics or Metrics()
        self._limits = limits or Limits()
        self._grpc_arguments = {
            "grpc.max_concurrent_streams": self._limits.grpc_streams,
            "grpc.so_reuseport": 0,
            **(grpc_arguments or {}),
            "grpc.max_receive_message_length": self._limits.message_bytes,
            "grpc.max_send_message_length": self._limits.message_bytes,
        }
        self._tensorflow_serving = tensorflow_serving
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)
        self._loaded: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        """Start to serve, and return when all models are loaded or have failed to load.

        Raises:
            PortInUseError: Another process listens on a port.
            ConfigError: The configuration is missing or wrong.
        """
        core()  # Before there are threads that could be first.
        self._thread.start()
        self._loaded.result()

    def stop(self) -> None:
        """Refuse new requests, let those in flight end, and release everything."""
        if self._loop and self._stop:
            with contextlib.suppress(RuntimeError):  # It has already ended.
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._loaded.done():
                logger.exception("The server ended with an error")
            else:
                self._loaded.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        manager = ModelManager(self._source, self._metrics)
        service = Service(manager, self._metrics)
        grpc_server = grpc.aio.server(options=list(self._grpc_arguments.items()))
        threads = GrpcThreads(self._limits.grpc_max_threads)
        grpc_server.add_generic_rpc_handlers((KServeGrpc(service, VERSION, threads).handler(),))
        if self._tensorflow_serving:
            grpc_server.add_generic_rpc_handlers(_tensorflow_serving(service, threads))
        self.grpc_port = self._bind_grpc(grpc_server)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(manager.close)
            if self.rest_port is not None:
                listener = stack.enter_context(_listener(self._rest_host, self.rest_port))
                self.rest_port = listener.getsockname()[1]
                await stack.enter_async_context(
                    _serving_rest(KServeRest(service, VERSION, self._limits), listener)
                )
            await grpc_server.start()
            stack.push_async_callback(grpc_server.stop, GRPC_GRACE_SECONDS)
            if self.rest_port is not None:
                await asyncio.sleep(STARTING_SECONDS)
            service.started = True
            await manager.load()
            self._loaded.set_result(None)
            if self._poll_seconds > 0:
                stack.callback(asyncio.create_task(manager.watch(self._poll_seconds)).cancel)
            await self._stop.wait()

    def _bind_grpc(self, server: grpc.aio.Server) -> int:
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            port: int = server.add_insecure_port(f"{host}:{self.grpc_port}")
        except RuntimeError as error:
            raise _no_port("gRPC", self._host, self.grpc_port, error) from error
        return port


def _tensorflow_serving(service: Service, threads: GrpcThreads) -> tuple[Any, ...]:
    try:
        from bertqa_serve.engine.tfs_api import TensorFlowServingGrpc
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The TensorFlow Serving API needs the package ovmsclient ({error}): install the "
            "extra `tfs`."
        ) from error
    return TensorFlowServingGrpc(service, threads).handlers()


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving_rest(front_end: KServeRest, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        front_end.application(),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not (server.started or task.done()):
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise _no_port("REST", host, port, error) from error
        yield listener


def _no_port(protocol: str, host: str, port: int, error: Exception) -> PortInUseError:
    return PortInUseError(
        f"{protocol} cannot listen on {host}:{port}: another process does, or it may not be used. "
        "Choose another port.",
        detail=str(error),
    )
