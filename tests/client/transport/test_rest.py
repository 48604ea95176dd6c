from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertqa import BertQAError, QAClient, QATokenizer
from bertqa.errors import (
    AccessDeniedError,
    DeadlineExceededError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    RequestTooLargeError,
    ServerOverloadedError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport import RestTransport, Security
from bertqa.transport._address import Address
from bertqa.transport._async.rest import AsyncRestTransport
from bertqa.transport.codecs import RestCodec
from bertqa.transport.codecs._rest import JSON_LENGTH
from tests.support.engines import Served
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.ports import free_port
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def answering(*responses: bytes, keep: int = 1, health: bytes = b"") -> Handler:
    """Return the raw responses one after the other, the last one again and again.

    `health` is the one to requests for the server's health, where that is another.
    """
    rest = list(responses)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lengths = [line for line in head.lower().split(b"\r\n") if b"content-length:" in line]
            body_length = [line for line in lengths if not line.startswith(b"inference")]
            if body_length:
                await reader.readexactly(int(body_length[0].split(b":")[1]))
            if health and head.startswith(b"GET /v2/health/"):
                writer.write(health)
            else:
                writer.write(rest.pop(0) if len(rest) > keep else rest[0])
            await writer.drain()

    return handle


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


METADATA = response(
    json.dumps(
        {
            "name": "bert-qa",
            "versions": ["1"],
            "inputs": [
                {"name": name, "datatype": "INT64", "shape": [-1, -1]}
                for name in ("input_ids", "attention_mask", "token_type_ids")
            ],
            "outputs": [
                {"name": name, "datatype": "FP32", "shape": [-1, -1]}
                for name in ("start_logits", "end_logits")
            ],
        }
    ).encode()
)


def ask(open_client: Twins, port: int, **options: Any) -> Any:
    client = open_client(f"http://localhost:{port}", tokenizer=TOKENIZER, **options)
    return client.answer(QUESTION, CONTEXT)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", ""),
        (b"hello", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"model_version": "1", "outputs": 3}', ""),
        (b'{"model_version": "1", "outputs": []}', ""),
        (b'{"model_version": "one", "outputs": []}', ""),
        (b"{}", f"{JSON_LENGTH}: 99\r\n"),
        (b"{}", f"{JSON_LENGTH}: no\r\n"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_strange_body_is_refused(open_client: Twins, body: bytes, headers: str) -> None:
    with (
        tcp_server(answering(METADATA, response(body, headers=headers))) as port,
        pytest.raises(ProtocolError),
    ):
        ask(open_client, port)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", AccessDeniedError),
        ("403 Forbidden", AccessDeniedError),
        ("413 Content Too Large", RequestTooLargeError),
        ("500 Internal Server Error", ProtocolError),
        ("418 I'm a teapot", ProtocolError),
        ("302 Found", ProtocolError),
    ],
)
def test_a_status_is_translated(open_client: Twins, status: str, error: type[BertQAError]) -> None:
    body = json.dumps({"error": "as the server says"}).encode()
    with (
        tcp_server(answering(METADATA, response(body, status))) as port,
        pytest.raises(error) as caught,
    ):
        ask(open_client, port)
    assert caught.value.detail == "as the server says"


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_without_room_is_asked_again(open_client: Twins, status: str) -> None:
    """Both for the description of the model and for an answer, whose body is strange at last."""
    full = response(b'{"error": "as the server says"}', status, "Retry-After: 0\r\n")
    with (
        tcp_server(answering(full, full, METADATA, full, full, response(b"{}"))) as port,
        pytest.raises(ProtocolError, match="KServe v2"),
    ):
        ask(open_client, port)
    with tcp_server(answering(METADATA, full)) as port:
        client = open_client(f"http://localhost:{port}", tokenizer=TOKENIZER, retry_overload=False)
        with pytest.raises(ServerOverloadedError) as caught:
            client.answer(QUESTION, CONTEXT)
        assert caught.value.detail == "as the server says"
        assert caught.value.retry_after == 0.0


@pytest.mark.parametrize("unknown", ["model", "version"])
def test_what_a_starting_server_does_not_know_is_not_ready(
    open_client: Twins, unknown: str
) -> None:
    """A client that met the server before waits for it; this one did not."""
    text = f"Model with requested {'name' if unknown == 'model' else unknown} is not found"
    missing = response(json.dumps({"error": text}).encode(), "404 Not Found")
    starting = response(b'{"error": "Server is not ready"}', "503 Service Unavailable")
    ready = response(b"")
    for health, error in (
        (starting, ModelNotReadyError),
        (ready, ModelNotFoundError if unknown == "model" else VersionNotFoundError),
    ):
        with (
            tcp_server(answering(missing, health=health)) as port,
            pytest.raises(error),
        ):
            open_client(f"http://localhost:{port}").answer(QUESTION, CONTEXT, version=1)


def test_what_is_not_http_is_refused(open_client: Twins) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01\x02 garbage \r\n\r\n")
        await writer.drain()

    with (
        tcp_server(babble) as port,
        pytest.raises(ProtocolError, match="does not speak HTTP"),
    ):
        ask(open_client, port)


def test_a_server_that_hangs_up_is_tried_again(open_client: Twins) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n\r\n"))

    calls: list[bytes] = []
    with (
        tcp_server(hang_up) as port,
        pytest.raises(ServerUnreachableError),
    ):
        ask(open_client, port)
    assert len(calls) == 5


def test_a_server_that_dribbles_meets_the_deadline(open_client: Twins) -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    with tcp_server(dribble) as port, pytest.raises(DeadlineExceededError):
        ask(open_client, port, timeout=0.5)


def test_a_silent_server_meets_the_deadline(open_client: Twins) -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with tcp_server(nothing) as port, pytest.raises(DeadlineExceededError):
        ask(open_client, port, timeout=0.3)


async def test_a_deadline_that_is_over_is_reported_as_such() -> None:
    where = (Address.parse(f"http://127.0.0.1:{free_port()}"), "bert-qa", Security())
    transport, twin = RestTransport(*where), AsyncRestTransport(*where)
    with pytest.raises(DeadlineExceededError):
        transport.metadata(version=None, timeout=0)
    with pytest.raises(DeadlineExceededError):
        await twin.metadata(version=None, timeout=0)
    transport.close()
    await twin.close()


def test_a_body_without_end_does_not_fill_the_memory(
    open_client: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    monkeypatch.setattr("bertqa._defaults.RESPONSE_LIMIT_BYTES", 1_000_000)
    with tcp_server(flood) as port, pytest.raises(ProtocolError, match="more than 1000000 bytes"):
        ask(open_client, port)


def test_a_connection_is_used_again_and_headers_are_sent(
    open_client: Twins, server: Served
) -> None:
    connections: list[int] = []
    seen = bytearray()
    pipe = pipe_to(server.rest_port, seen)

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await pipe(reader, writer)

    with tcp_server(counting) as port:
        client = open_client(
            f"http://localhost:{port}", token="secret", headers={"X-Team": "search"}, timeout=60.0
        )
        for _ in range(5):
            client.answer(QUESTION, CONTEXT)
        client.close()
    assert len(connections) == 1
    assert seen.lower().count(b"authorization: bearer secret") == 6
    assert seen.lower().count(b"x-team: search") == 6


def test_outputs_are_read_binary_or_not() -> None:
    start, end = np.arange(6, dtype="<f4").reshape(2, 3), np.ones((2, 3), dtype="<f4")
    head = json.dumps(
        {
            "model_version": "3",
            "outputs": [
                {
                    "name": "end_logits",
                    "datatype": "FP32",
                    "shape": [2, 3],
                    "parameters": {"binary_data_size": 24},
                },
                {
                    "name": "start_logits",
                    "datatype": "FP32",
                    "shape": [2, 3],
                    "data": start.ravel().tolist(),
                },
            ],
        }
    ).encode()
    result = RestCodec("bert-qa").infer_result(
        head + end.tobytes(), httpx.Headers({JSON_LENGTH: str(len(head))})
    )
    assert result.model_version == 3
    assert result.outputs["start_logits"].tolist() == start.tolist()
    assert result.outputs["end_logits"].tolist() == end.tolist()


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["outputs", "name", "shape", "datatype", "data", "model_version", "parameters"]
                ),
                inner,
                max_size=6,
            )
        ),
    )
)
def test_any_json_is_read_or_refused_by_an_error_of_ours(body: object) -> None:
    encoded = json.dumps(body).encode()
    for read in (
        lambda: CODEC.infer_result(encoded, httpx.Headers()),
        lambda: CODEC.model_metadata(encoded),
    ):
        try:
            read()
        except ProtocolError:
            continue


CODEC = RestCodec("bert-qa")


def test_a_model_name_with_any_characters_stays_one_part_of_the_path(server: Served) -> None:
    with (
        QAClient(server.rest_url, model="../a b/ü", timeout=60.0) as client,
        pytest.raises(BertQAError, match=r"'\.\./a b/ü'"),
    ):
        client.answer(QUESTION, CONTEXT)


@pytest.mark.parametrize("failing", ["auth", "hook", "transport"])
def test_what_a_client_of_the_user_s_raises_is_an_error_of_this_project(failing: str) -> None:
    def fails(_: httpx.Request) -> Any:
        raise KeyError("no secret")

    kinds: dict[str, dict[str, Any]] = {
        "auth": {"auth": fails},
        "hook": {"event_hooks": {"request": [fails]}},
        "transport": {"transport": httpx.MockTransport(fails)},
    }
    options = kinds[failing]
    with (
        httpx.Client(trust_env=False, **options) as http_client,
        QAClient("http://localhost:1", http_client=http_client) as client,
        pytest.raises(BertQAError, match="http_client= raised KeyError: 'no secret'"),
    ):
        client.answer("Who?", "Anna.")
