from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from bertqa import TLS, AsyncQAClient, BertQAError, QAClient, QATokenizer, _defaults
from bertqa.errors import (
    AccessDeniedError,
    ClientStateError,
    DeadlineExceededError,
    InvalidOptionError,
    ProtocolError,
    RequestTooLargeError,
    ServerOverloadedError,
    ServerUnreachableError,
)
from bertqa.transport import served_versions
from bertqa.transport._address import Address
from bertqa.transport._grpc import channel_arguments
from tests.support.engines import Served
from tests.support.gates import GrpcGate, pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())


@pytest.fixture
def gate(local_server: Served) -> Iterator[GrpcGate]:
    with GrpcGate(local_server.grpc_port) as opened:
        yield opened


def through(open_client: Twins, gate: GrpcGate, **options: Any) -> Any:
    """A client that has met the server through the gate."""
    client = open_client(
        f"localhost:{gate.port}", tokenizer=TOKENIZER, **{"timeout": 60.0, **options}
    )
    client.answer(QUESTION, CONTEXT)
    gate.calls.clear()
    gate.methods.clear()
    return client


def test_what_is_unavailable_is_tried_again(open_client: Twins, gate: GrpcGate) -> None:
    client = through(open_client, gate)
    gate.obstacles = [grpc.StatusCode.UNAVAILABLE] * 3
    client.answer(QUESTION, CONTEXT)
    assert len(gate.calls) == 4


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INTERNAL, ProtocolError),
        (grpc.StatusCode.UNAUTHENTICATED, AccessDeniedError),
        (grpc.StatusCode.ABORTED, ProtocolError),
    ],
)
def test_nothing_else_is_tried_again(
    open_client: Twins, gate: GrpcGate, code: grpc.StatusCode, error: type[BertQAError]
) -> None:
    client = through(open_client, gate)
    gate.obstacles = [code]
    with pytest.raises(error) as caught:
        client.answer(QUESTION, CONTEXT)
    # An answer that makes no sense has the client look whether the default version is another now.
    assert gate.methods.count("ModelInfer") == 1
    assert caught.value.detail == "an obstacle"


def test_what_is_refused_for_lack_of_room_is_sent_again_unless_that_is_turned_off(
    open_client: Twins, gate: GrpcGate
) -> None:
    client = through(open_client, gate)
    gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
    expected = client.answer(QUESTION, CONTEXT)
    assert len(gate.calls) == 4
    gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
    assert list(client.answer_many([(QUESTION, CONTEXT)] * 3)) == [expected] * 3

    proud = through(open_client, gate, retry_overload=False)
    gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    with pytest.raises(ServerOverloadedError) as caught:
        proud.answer(QUESTION, CONTEXT)
    assert len(gate.calls) == 1
    assert caught.value.detail == "an obstacle"


def test_a_server_that_stays_full_is_given_up_at_the_deadline(
    open_client: Twins, gate: GrpcGate
) -> None:
    client = through(open_client, gate)
    gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 500
    with pytest.raises(ServerOverloadedError, match=r"It was refused \d+ times in ") as caught:
        client.answer(QUESTION, CONTEXT, timeout=1.0)
    assert caught.value.detail == "an obstacle"
    assert len(gate.calls) > 3
    with pytest.raises(ServerOverloadedError, match=r"It was refused \d+ times in "):
        list(client.answer_many([(QUESTION, CONTEXT)] * 3, timeout=1.0))


def test_a_call_that_is_too_large_is_not_sent_again(
    open_client: Twins, local_server: Served
) -> None:
    with GrpcGate(local_server.grpc_port, ("grpc.max_receive_message_length", 1024)) as gate:
        client = open_client(f"localhost:{gate.port}", tokenizer=TOKENIZER, timeout=60.0)
        with pytest.raises(RequestTooLargeError, match="larger than max"):
            client.answer(QUESTION, CONTEXT)
        assert len(gate.calls) == 1


def test_pings_are_rarer_than_a_grpc_server_forbids() -> None:
    """A server with gRPC's defaults counts pings within 300 s as strikes, and then hangs up."""
    options = dict(channel_arguments(Address.parse("grpc://models:9000"))["options"])
    assert options["grpc.keepalive_time_ms"] > 300_000
    assert options["grpc.keepalive_time_ms"] >= 1.1 * 300_000


def test_a_name_is_resolved_again_soon_after_its_server_went_away() -> None:
    options = dict(channel_arguments(Address.parse("grpc://models:9000"))["options"])
    seconds = options["grpc.dns_min_time_between_resolutions_ms"] / 1000
    assert seconds <= _defaults.RECONNECT_SECONDS


def test_what_stays_unavailable_is_given_up(open_client: Twins, gate: GrpcGate) -> None:
    gate.obstacles = [grpc.StatusCode.UNAVAILABLE] * 500
    stranger = open_client(f"localhost:{gate.port}", tokenizer=TOKENIZER, timeout=60.0)
    with pytest.raises(ServerUnreachableError):
        stranger.answer(QUESTION, CONTEXT)
    assert len(gate.calls) == 5

    gate.obstacles = []
    client = through(open_client, gate)
    gate.obstacles = [grpc.StatusCode.UNAVAILABLE] * 500
    with pytest.raises((ServerUnreachableError, DeadlineExceededError)):
        client.answer(QUESTION, CONTEXT, timeout=6.0)
    assert len(gate.calls) > 5


def test_a_call_that_the_server_cancels_is_made_again(open_client: Twins, gate: GrpcGate) -> None:
    client = through(open_client, gate)
    gate.obstacles = [grpc.StatusCode.CANCELLED]
    client.answer(QUESTION, CONTEXT)
    assert len(gate.calls) >= 2


def test_a_slow_server_meets_the_deadline(open_client: Twins, gate: GrpcGate) -> None:
    client = through(open_client, gate)
    gate.obstacles = [threading.Event()]
    with pytest.raises(DeadlineExceededError, match="did not answer in time"):
        client.answer(QUESTION, CONTEXT, timeout=0.3)
    assert len(gate.calls) == 1


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"", b"\x0a\x03abc\x12\x013"])
def test_garbage_in_a_message_is_refused(
    open_client: Twins, gate: GrpcGate, garbage: bytes
) -> None:
    client = through(open_client, gate)
    gate.obstacles = [garbage]
    with pytest.raises(ProtocolError):
        client.answer(QUESTION, CONTEXT)


def test_a_server_of_another_kind_is_refused(open_client: Twins) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        await writer.drain()

    with tcp_server(babble) as port:
        client = open_client(f"localhost:{port}", tokenizer=TOKENIZER, timeout=60.0)
        with pytest.raises(ServerUnreachableError):
            client.answer(QUESTION, CONTEXT)


def test_a_token_and_headers_are_sent_with_every_call(open_client: Twins, gate: GrpcGate) -> None:
    client = through(open_client, gate, token="secret", headers={"X-Team": "search"})
    client.answer(QUESTION, CONTEXT)
    for call in gate.calls:
        assert call["authorization"] == "Bearer secret"
        assert call["x-team"] == "search"


def test_a_name_in_dns_is_asked_round_robin() -> None:
    arguments = channel_arguments(Address.parse("dns:///bert-qa.default.svc:9000"))
    assert arguments["target"] == "dns:///bert-qa.default.svc:9000"
    config = json.loads(dict(arguments["options"])["grpc.service_config"])
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    plain = dict(channel_arguments(Address.parse("localhost:9000"))["options"])
    assert "grpc.service_config" not in plain


@pytest.mark.parametrize("scheme", ["grpc", "dns"])
def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    open_client: Twins, server: Served, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("grpc_proxy", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert open_client(**server.address(scheme)).answer(QUESTION, CONTEXT).text


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, dict[str, Path]]:
    """A certificate authority, with a client's certificate in files."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    client = authority.issue_cert("client.example")
    files = {name: directory / f"{name}.pem" for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    client.cert_chain_pems[0].write_to_path(files["certificate"])
    client.private_key_pem.write_to_path(files["key"])
    return authority, files


@pytest.mark.parametrize(
    ("scheme", "mutual"), [("grpcs", False), ("grpcs", True), ("https", True), ("tfss", False)]
)
def test_tls_is_spoken_and_the_server_is_checked(
    open_client: Twins,
    server: Served,
    authority: tuple[trustme.CA, dict[str, Path]],
    scheme: str,
    mutual: bool,
) -> None:
    ca, files = authority
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"] if scheme == "https" else ["h2"])
    ca.issue_cert("localhost").configure_cert(context)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(context)
    own: dict[str, Any] = (
        {"certificate": files["certificate"], "key": files["key"]} if mutual else {}
    )
    with tcp_server(pipe_to(server.port(scheme)), context) as port:
        options = {"tokenizer": TOKENIZER, "timeout": 60.0}
        client = open_client(
            f"{scheme}://localhost:{port}", tls=TLS(ca=files["ca"], **own), **options
        )
        assert client.answer(QUESTION, CONTEXT).model_version == 2
        stranger = open_client(f"{scheme}://localhost:{port}", **options)
        with pytest.raises(ServerUnreachableError):
            stranger.answer(QUESTION, CONTEXT, timeout=3.0)


def test_tls_files_that_cannot_be_used_are_named(open_client: Twins, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    for scheme in ("grpcs", "https"):
        with pytest.raises(InvalidOptionError, match=r"missing\.pem|TLS files"):
            open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, tls=TLS(ca=missing))
    with pytest.raises(InvalidOptionError, match="together"):
        TLS(certificate=missing)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_damaged_tls_file_is_named(open_client: Twins, tmp_path: Path, scheme: str) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(b"\xd9\x00 no certificate")
    with pytest.raises(
        InvalidOptionError, match=r"damaged\.pem, passed as ca= of TLS, cannot be used"
    ):
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, tls=TLS(ca=damaged))


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("secret", [{"token": "s3cr\net"}, {"headers": {"x-key": "s3cr\u00e9t"}}])
def test_a_secret_that_cannot_be_sent_is_not_shown(
    open_client: Twins, scheme: str, secret: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOptionError, match="has to be printable ASCII") as raised:
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, **secret)
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("", "other than '.' and '..'"),
        ("\udcff", "printable characters"),
        ("a\nb", "printable characters"),
        ("a\0", "printable characters"),
        (".", "other than '.' and '..'"),
        ("..", "other than '.' and '..'"),
        ("a" * 1025, "at most 1024 characters"),
    ],
)
def test_a_name_that_no_model_has_is_refused(
    open_client: Twins, scheme: str, model: str, words: str
) -> None:
    with pytest.raises(InvalidOptionError, match=f"model is .*{words}"):
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, model=model)
    with pytest.raises(InvalidOptionError, match=f"model is .*{words}"):
        served_versions(f"{scheme}://localhost:2000", model)


def test_headers_that_are_too_large_for_grpc_are_said_to_be_that(
    open_client: Twins, local_server: Served
) -> None:
    client = open_client(
        f"localhost:{local_server.grpc_port}",
        tokenizer=TOKENIZER,
        headers={"x-key": "a" * 20_000},
        timeout=60.0,
    )
    with pytest.raises(RequestTooLargeError, match=r"headers of a call .* shorter"):
        client.answer(QUESTION, CONTEXT)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_closing_ends_what_other_tasks_ask(gate: GrpcGate, scheme: str) -> None:
    heard: list[bytes] = []

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        await reader.read()

    gate.obstacles = [threading.Event() for _ in range(30)]
    with tcp_server(silence) as silent_port:
        port = gate.port if scheme == "grpc" else silent_port
        client = AsyncQAClient(f"{scheme}://localhost:{port}", tokenizer=TOKENIZER, timeout=60.0)
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(30)]
        while not (gate.calls or heard):
            await asyncio.sleep(0.01)
        await client.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in done} <= {ClientStateError, ServerUnreachableError}


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_closing_ends_what_other_threads_ask(gate: GrpcGate, scheme: str) -> None:
    heard = threading.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        heard.set()
        await reader.read()

    gate.obstacles = [threading.Event()]
    with tcp_server(silence) as silent_port, ThreadPoolExecutor() as pool:
        port = gate.port if scheme == "grpc" else silent_port
        client = QAClient(f"{scheme}://localhost:{port}", tokenizer=TOKENIZER, timeout=600.0)
        asked = pool.submit(client.answer, QUESTION, CONTEXT)
        while not (gate.calls or heard.is_set()):
            time.sleep(0.01)
        client.close()
        assert isinstance(asked.exception(60), ClientStateError | ServerUnreachableError)
