"""What a server that is not there, not any more or far away looks like over both protocols."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from bertqa import TLS, Answer, AsyncQAClient, QATokenizer
from bertqa.errors import (
    CertificateError,
    ClientStateError,
    ProtocolError,
    ServerUnreachableError,
)
from tests.support.certificates import Authority
from tests.support.engines import Served
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.ports import free_port
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
ALPN = {"grpcs": "h2", "https": "http/1.1"}


@contextmanager
def cut_off(port: int, context: Any = None) -> Iterator[tuple[int, Callable[[], None]]]:
    """A way to a port, with a function that ends all its connections."""
    writers: list[tuple[asyncio.AbstractEventLoop, asyncio.StreamWriter]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append((asyncio.get_running_loop(), writer))
        await pipe_to(port)(reader, writer)

    def cut() -> None:
        for loop, writer in writers:
            loop.call_soon_threadsafe(writer.transport.abort)
        writers.clear()

    with tcp_server(handle, context) as at:
        yield at, cut


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_another_certificate_after_first_contact_is_named_at_once(
    open_client: Twins, local_server: Served, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    context = authority.context(alpn=ALPN[scheme])
    with cut_off(local_server.port(scheme), context) as (port, cut):
        client = open_client(
            f"{scheme}://localhost:{port}",
            tokenizer=TOKENIZER,
            tls=TLS(ca=authority.ca),
            timeout=600.0,
        )
        client.answer(QUESTION, CONTEXT)
        authority.certify(context, "other.example")
        cut()
        with pytest.raises(CertificateError, match="is for another name"):
            client.answer(QUESTION, CONTEXT)
        with pytest.raises(CertificateError, match="is for another name"):
            list(client.answer_many([(QUESTION, CONTEXT)]))


@pytest.mark.parametrize("met", [True, False])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_where_nothing_listens_no_connection_is_what_failed(
    open_client: Twins, local_server: Served, scheme: str, met: bool
) -> None:
    with cut_off(local_server.port(scheme)) as (port, cut):
        client = open_client(f"{scheme}://127.0.0.1:{port}", tokenizer=TOKENIZER, timeout=60.0)
        if met:
            client.answer(QUESTION, CONTEXT)
        cut()
    for timeout in (0.2, 1.0):
        with pytest.raises(ServerUnreachableError, match=f"Cannot connect to {scheme}://127"):
            client.answer(QUESTION, CONTEXT, timeout=timeout)


def test_a_grpc_address_that_never_answered_is_not_waited_for(
    open_client: Twins, local_server: Served
) -> None:
    rest = local_server.rest_url
    client = open_client(f"localhost:{free_port()}", metadata_url=rest, timeout=600.0)
    with pytest.raises(ServerUnreachableError, match="Cannot connect to grpc://"):
        client.answer(QUESTION, CONTEXT)


def test_the_rest_port_asked_over_grpc_is_named_at_once(
    open_client: Twins, local_server: Served
) -> None:
    rest = local_server.rest_url
    client = open_client(f"localhost:{local_server.rest_port}", metadata_url=rest, timeout=600.0)
    with pytest.raises(ProtocolError, match=r"port of the REST API\? Then write http://localhost:"):
        client.answer(QUESTION, CONTEXT)


def test_a_far_server_has_the_time_to_take_part_in_a_connection(
    open_client: Twins, local_server: Served
) -> None:
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await asyncio.sleep(0.3)
        await pipe_to(local_server.grpc_port)(reader, writer)

    with tcp_server(handle) as port:
        client = open_client(f"127.0.0.1:{port}", tokenizer=TOKENIZER, timeout=60.0)
        client.answer(QUESTION, CONTEXT)
    assert len(connections) == 1


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_closing_a_client_whose_loop_ended_ends_its_connections(
    local_server: Served, scheme: str
) -> None:
    ended = threading.Semaphore(0)
    began: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.append(1)
        back_reader, back_writer = await asyncio.open_connection(
            "127.0.0.1", local_server.port(scheme)
        )
        back = asyncio.create_task(copy(back_reader, writer))
        await copy(reader, back_writer)
        back.cancel()
        back_writer.close()
        ended.release()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)

    async def ask(client: AsyncQAClient) -> None:
        await asyncio.gather(*(client.answer(QUESTION, CONTEXT) for _ in range(3)))

    with tcp_server(handle) as port:
        client = AsyncQAClient(f"{scheme}://127.0.0.1:{port}", tokenizer=TOKENIZER, timeout=60)
        asyncio.run(ask(client))
        assert len(began) == (1 if scheme == "grpc" else 3)
        asyncio.run(client.close())
        for _ in began:
            assert ended.acquire(timeout=60)
        assert client.is_closed
        with pytest.raises(ClientStateError, match="closed"):
            asyncio.run(ask(client))


def test_closing_a_client_ends_the_connections_that_are_being_made(local_server: Served) -> None:
    async def close_after(turns: int) -> list[object]:
        client = AsyncQAClient(local_server.rest_url, tokenizer=TOKENIZER, timeout=60)
        asking = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        return list(await asyncio.gather(*asking, return_exceptions=True))

    gc.collect()  # What other tests have left is not meant.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        for turns in range(0, 40, 4):
            for outcome in asyncio.run(close_after(turns)):
                assert isinstance(outcome, Answer | ClientStateError)
        gc.collect()
    assert [str(each.message) for each in warned if "unclosed" in str(each.message)] == []


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_connections_end_with_their_loop_and_a_client_can_be_closed_in_another_one(
    scheme: str, local_server: Served
) -> None:
    gc.collect()  # What other tests have left is not meant.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        client = AsyncQAClient(**local_server.address(scheme), timeout=60)
        assert asyncio.run(client.answer(QUESTION, CONTEXT)).model_version == 2
        asyncio.run(client.close())
        del client
        gc.collect()
    assert [str(each.message) for each in warned if "unclosed" in str(each.message)] == []


def test_an_http_client_of_the_users_outlives_the_loop_of_the_calls(local_server: Served) -> None:
    own = httpx.AsyncClient()
    client = AsyncQAClient(local_server.rest_url, http_client=own, timeout=60)
    asyncio.run(client.answer(QUESTION, CONTEXT))
    assert not own.is_closed
