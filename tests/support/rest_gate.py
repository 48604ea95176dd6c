"""A REST server that passes requests on to another one, unless something is in the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import httpx

from tests.support.gates import tcp_server

HANG: Final = "hang"
Obstacle = Literal["hang"] | bytes | Callable[[], object]
_PASSED_ON = ("content-type", "inference-header-content-length")


@dataclass
class RestGate:
    """What was asked, and what is in the way of it.

    `headers` has those of each request, in lower case. `obstacles` are those of each path, taken
    one for each request: HANG never answers, bytes are sent as the whole response, and a callable
    is called before the request is passed on.
    """

    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    obstacles: dict[str, list[Obstacle]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def rest_gate(target: str) -> Iterator[RestGate]:
    """Open a gate in front of the server at a URL."""
    gate = RestGate()

    async def answer(
        reader: asyncio.StreamReader, method: str, path: str, fields: dict[str, str], body: bytes
    ) -> bytes:
        gate.asked.append(f"{method} {path}")
        obstacles = gate.obstacles.get(path)
        obstacle = obstacles.pop(0) if obstacles else None
        if obstacle == HANG:
            await reader.read()  # Until the caller gives up.
            return b""
        if isinstance(obstacle, bytes):
            return obstacle
        if callable(obstacle):
            await asyncio.to_thread(obstacle)
        async with httpx.AsyncClient(base_url=target, timeout=120, trust_env=False) as client:
            headers = {name: fields[name] for name in _PASSED_ON if name in fields}
            got = await client.request(method, path, content=body, headers=headers)
        head = [f"HTTP/1.1 {got.status_code} -", f"content-length: {len(got.content)}"]
        head += [f"{name}: {got.headers[name]}" for name in _PASSED_ON if name in got.headers]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + got.content

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            method, path, _ = first.split(" ")
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            gate.headers.append(fields)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            writer.write(await answer(reader, method, path, fields, body))
            await writer.drain()

    with tcp_server(handle) as gate.port:
        yield gate
