"""What stands between a client and the local engine: TLS, obstacles, and plain nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


@contextlib.contextmanager
def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    context: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """Serve a TCP port of loopback with a coroutine, in a thread, and return the port."""
    port: list[int] = []
    started, loop_of = threading.Event(), []

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await handle(reader, writer)
        finally:
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(quietly, "127.0.0.1", 0, ssl=context)
        port.append(server.sockets[0].getsockname()[1])
        ended = asyncio.Event()
        loop_of.append((asyncio.get_running_loop(), ended))
        started.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield port[0]
    finally:
        loop, ended = loop_of[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(60)


def pipe_to(
    port: int, seen: bytearray | None = None
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Pass all bytes on to another port of loopback, keeping those that the client sends."""

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray | None
    ) -> None:
        try:
            while data := await reader.read(65536):
                if copy is not None:
                    copy.extend(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            pump(reader, back_writer, seen),
            pump(back_reader, writer, None),
            return_exceptions=True,
        )

    return handle


class GrpcGate:
    """A gRPC server that passes calls on to another one, unless it is to do something else.

    `obstacles` are taken one for each call, in order: a status code to fail with, an event to wait
    for, or bytes to answer with. `calls` has the metadata of each call that came, `methods` has
    their names. `options` are those of the gRPC server, which refuses calls beyond `at_once`, as
    OVMS does without a thread.
    """

    def __init__(self, port: int, *options: tuple[str, int], at_once: int | None = None) -> None:
        self.obstacles: list[grpc.StatusCode | threading.Event | bytes] = []
        self.calls: list[dict[str, Any]] = []
        self.methods: list[str] = []
        self._under_way = 0
        self._changed = threading.Condition()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._server = grpc.server(
            ThreadPoolExecutor(at_once or 8), options=options, maximum_concurrent_rpcs=at_once
        )
        self._server.add_generic_rpc_handlers((_Everything(self._pass_on),))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> GrpcGate:
        self._server.start()
        return self

    def __exit__(self, *details: object) -> None:
        for obstacle in self.obstacles:
            if isinstance(obstacle, threading.Event):
                obstacle.set()
        self._server.stop(0).wait()
        self._channel.close()

    def wait_until(self, under_way: int) -> None:
        """Wait until so many calls are under way: not answered, failed or cancelled."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._under_way == under_way, 60)

    def _count(self, change: int) -> None:
        with self._changed:
            self._under_way += change
            self._changed.notify_all()

    def _next_channel(self) -> grpc.Channel:
        return self._channel

    def _pass_on(self, method: str, request: bytes, context: Any) -> bytes:
        self._count(1)
        if not context.add_callback(lambda: self._count(-1)):
            self._count(-1)
        self.methods.append(method.rpartition("/")[2])
        self.calls.append(dict(context.invocation_metadata()))
        obstacle = self.obstacles.pop(0) if self.obstacles else None
        if isinstance(obstacle, grpc.StatusCode):
            context.abort(obstacle, "an obstacle")
        if isinstance(obstacle, bytes):
            return obstacle
        if obstacle is not None:
            obstacle.wait(60)
        try:
            answer: bytes = self._next_channel().unary_unary(method)(request, timeout=60)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        return answer


class _Everything(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, pass_on: Callable[[str, bytes, Any], bytes]) -> None:
        self._pass_on = pass_on

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._pass_on(details.method, request, context)
        )
