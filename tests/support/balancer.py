"""One address in front of several servers, as a ClusterIP or a gateway with weights is."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import grpc

from tests.support.engines import Served
from tests.support.gates import GrpcGate, pipe_to, tcp_server

KINDS = ("connections in turn", "connections at random", "requests at random")
"""What is balanced: connections, as a ClusterIP does it, or requests, as a gateway does it."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")


@dataclass
class Balancer:
    """Chooses a server for each connection or request by its weight, which may change at any time.

    `chosen` counts how often each server was taken.
    """

    servers: Sequence[Served]
    kind: str
    weights: list[float]
    grpc_port: int = 0
    rest_port: int = 0
    chosen: list[int] = field(default_factory=list)
    _credit: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.chosen = [0] * len(self.servers)
        self._credit = [0.0] * len(self.servers)

    @property
    def balances_requests(self) -> bool:
        return self.kind.startswith("requests")

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.rest_port if scheme == 'http' else self.grpc_port}"

    def choose(self) -> Served:
        with self._lock:
            places = range(len(self.servers))
            if self.kind == "connections in turn":
                # Smooth weighted round robin, as in nginx.
                self._credit = [self._credit[at] + self.weights[at] for at in places]
                at = max(places, key=lambda each: self._credit[each])
                self._credit[at] -= sum(self.weights)
            else:
                at = random.choices(places, weights=self.weights)[0]
            self.chosen[at] += 1
            return self.servers[at]


@contextmanager
def balancing(servers: Sequence[Served], kind: str) -> Iterator[Balancer]:
    """Stand in front of servers inside the block; at first all have the same weight."""
    balancer = Balancer(servers, kind, [1.0] * len(servers))

    async def connect_grpc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pipe_to(balancer.choose().grpc_port)(reader, writer)

    async def connect_rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pipe_to(balancer.choose().rest_port)(reader, writer)

    async def pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await _message(reader)
            back_reader, back_writer = await asyncio.open_connection(
                "127.0.0.1", balancer.choose().rest_port
            )
            back_writer.write(request)
            writer.write(await _message(back_reader))
            back_writer.close()
            await writer.drain()

    with ExitStack() as stack:
        if balancer.balances_requests:
            balancer.grpc_port = stack.enter_context(_GrpcRequests(balancer)).port
            balancer.rest_port = stack.enter_context(tcp_server(pass_requests))
        else:
            balancer.grpc_port = stack.enter_context(tcp_server(connect_grpc))
            balancer.rest_port = stack.enter_context(tcp_server(connect_rest))
        yield balancer


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return an HTTP request or response, with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


class _GrpcRequests(GrpcGate):
    """Passes each call on to the server that a balancer chooses."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__(balancer.servers[0].grpc_port)
        self._balancer = balancer
        self._channels = {
            id(server): grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
            for server in balancer.servers
        }

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        for channel in self._channels.values():
            channel.close()

    def _next_channel(self) -> grpc.Channel:
        return self._channels[id(self._balancer.choose())]
