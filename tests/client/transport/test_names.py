"""By which names a server is called, the same over gRPC and REST."""

from __future__ import annotations

import asyncio
import re
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from bertqa import TLS, QATokenizer
from bertqa.errors import (
    ClientStateError,
    InvalidOptionError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport import AdminClient, Security
from bertqa.transport._address import Address
from bertqa.transport._grpc import channel_arguments
from tests.support.engines import Served
from tests.support.gates import GrpcGate, pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
NAME = "bert-qa.team.example"


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_the_header_host_is_the_name_by_which_the_server_is_called(
    open_client: Twins, server: Served, scheme: str
) -> None:
    """Over gRPC it is `:authority`, by which KServe and Knative choose the model."""
    seen = bytearray()
    rest = bytearray()
    with (
        tcp_server(pipe_to(server.port(scheme), seen)) as port,
        tcp_server(pipe_to(server.rest_port, rest)) as rest_port,
    ):
        client = open_client(
            f"{scheme}://localhost:{port}",
            metadata_url=f"http://localhost:{rest_port}",
            headers={"Host": NAME},
            timeout=60.0,
        )
        assert client.answer(QUESTION, CONTEXT).model_version == 2
        client.close()
    assert NAME.encode() in (seen if scheme == "grpc" else seen.lower())
    assert b"localhost" not in seen
    over_rest = rest if scheme == "grpc" else seen
    assert set(re.findall(rb"(?i)\r\nhost: ([^\r]*)", bytes(over_rest))) == {NAME.encode()}


def test_the_authority_of_a_channel_is_the_host(open_client: Twins, local_server: Served) -> None:
    address, headers = Address.parse("grpcs://10.0.0.1:9000"), {"Host": NAME}
    options = dict(channel_arguments(address, Security.of(headers=headers))["options"])
    assert options["grpc.default_authority"] == NAME
    # The certificate is that of the address all the same.
    assert options["grpc.ssl_target_name_override"] == "10.0.0.1"
    tls = TLS(server_name="models.example")
    options = dict(channel_arguments(address, Security.of(tls, headers=headers))["options"])
    assert options["grpc.default_authority"] == NAME
    assert options["grpc.ssl_target_name_override"] == "models.example"
    with GrpcGate(local_server.grpc_port) as gate:
        client = open_client(f"localhost:{gate.port}", tokenizer=TOKENIZER, headers=headers)
        client.answer(QUESTION, CONTEXT, timeout=60.0)
        assert all("host" not in call for call in gate.calls)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(
    ("headers", "agent"),
    [(None, f"bertqa/{version('bertqa')}"), ({"User-Agent": "search/7"}, "search/7")],
)
def test_the_client_calls_itself_by_name_and_version(
    open_client: Twins, local_server: Served, scheme: str, headers: Any, agent: str
) -> None:
    seen = bytearray()
    with (
        GrpcGate(local_server.grpc_port) as gate,
        tcp_server(pipe_to(local_server.rest_port, seen)) as rest_port,
    ):
        port = gate.port if scheme == "grpc" else rest_port
        client = open_client(
            f"{scheme}://localhost:{port}", tokenizer=TOKENIZER, headers=headers, timeout=60.0
        )
        client.answer(QUESTION, CONTEXT)
        client.close()
        found = [call["user-agent"] for call in gate.calls]
    found += [each.decode() for each in re.findall(rb"(?i)\r\nuser-agent: ([^\r]*)", bytes(seen))]
    assert found
    assert all(each.split()[0] == agent for each in found)


def test_the_admin_client_uses_the_same_names(server: Served) -> None:
    seen = bytearray()
    with tcp_server(pipe_to(server.rest_port, seen)) as port:
        security = Security.of(headers={"Host": NAME}, token="s3cret")
        with AdminClient(Address.parse(f"http://localhost:{port}"), security) as admin:
            assert admin.is_ready()
    assert f"host: {NAME}\r\n".encode() in seen.lower()
    assert b"authorization: bearer s3cret" in seen.lower()
    assert f"user-agent: bertqa/{version('bertqa')}".encode() in seen.lower()


def http_client_for(open_client: Twins, **options: Any) -> Any:
    return httpx.Client(**options) if open_client.kind == "sync" else httpx.AsyncClient(**options)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_an_http_client_of_the_user_makes_the_calls_and_stays_open(
    open_client: Twins, server: Served, scheme: str
) -> None:
    seen = bytearray()
    with tcp_server(pipe_to(server.rest_port, seen)) as port:
        own = http_client_for(open_client, headers={"x-own": "yes"}, trust_env=False)
        at = port if scheme == "http" else server.grpc_port
        client = open_client(
            f"{scheme}://localhost:{at}",
            metadata_url=f"http://localhost:{port}",
            http_client=own,
            token="s3cret",
            timeout=60.0,
        )
        assert client.answer(QUESTION, CONTEXT).model_version == 2
        client.close()
        assert not own.is_closed
    assert b"x-own: yes" in seen.lower()
    assert b"authorization: bearer s3cret" in seen.lower()


def test_an_http_client_of_the_wrong_kind_is_refused(open_client: Twins) -> None:
    wrong: Any = httpx.AsyncClient() if open_client.kind == "sync" else httpx.Client()
    with pytest.raises(InvalidOptionError, match="http_client= is of type"):
        open_client("http://localhost:1", http_client=wrong)
    with pytest.raises(InvalidOptionError, match="http_client= is of type"):
        open_client("localhost:9000", http_client="http://proxy")
    own = http_client_for(open_client)
    with pytest.raises(InvalidOptionError, match="TLS of its own"):
        open_client("https://localhost:1", http_client=own, tls=TLS(ca="ca.pem"))


def test_an_http_client_that_was_closed_says_so(open_client: Twins, server: Served) -> None:
    own = http_client_for(open_client)
    client = open_client(server.rest_url, http_client=own, timeout=60.0)
    if isinstance(own, httpx.Client):
        own.close()
    else:
        client._runner.run(own.aclose())
    with pytest.raises(ClientStateError, match="closed"):
        client.answer(QUESTION, CONTEXT)


def test_options_of_the_channel_count_above_the_clients_own(
    open_client: Twins, local_server: Served
) -> None:
    with GrpcGate(local_server.grpc_port) as gate:
        for given in ({"grpc.primary_user_agent": "own"}, [("grpc.primary_user_agent", "own")]):
            client = open_client(
                f"localhost:{gate.port}",
                tokenizer=TOKENIZER,
                channel_options=given,
                timeout=60.0,
            )
            client.answer(QUESTION, CONTEXT)
        assert all(call["user-agent"].startswith("own ") for call in gate.calls)
    options = dict(
        channel_arguments(
            Address.parse("models:9000"), channel_options=(("grpc.keepalive_time_ms", 5),)
        )["options"]
    )
    assert options["grpc.keepalive_time_ms"] == 5


@pytest.mark.parametrize(
    "options",
    [
        5,
        "grpc.a",
        ["grpc.a"],
        {"a": 1.5},
        {"a": None},
        {5: 5},
        {"a": 2**31},
        {"a": 10**5000},
        [("a", "b", "c")],
    ],
)
def test_options_that_no_channel_takes_are_refused(open_client: Twins, options: Any) -> None:
    with pytest.raises(InvalidOptionError, match="channel_options="):
        open_client("localhost:9000", tokenizer=TOKENIZER, channel_options=options)
    with pytest.raises(InvalidOptionError, match="channel_options= are for gRPC"):
        open_client("http://localhost:8000", channel_options={"grpc.a": 1})


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_redirect_and_a_gateway_are_met_for_what_they_are(
    open_client: Twins, scheme: str
) -> None:
    answers = [
        b"HTTP/1.1 302 -\r\nlocation: https://login.example/?a=1\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 -\r\ncontent-length: 19\r\n\r\nno healthy upstream",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answers[0])
            await writer.drain()

    with tcp_server(answer) as port:
        url = f"http://localhost:{port}"
        at = url if scheme == "http" else "grpc://localhost:1"
        client = open_client(at, metadata_url=url, timeout=5.0)
        with pytest.raises(ProtocolError, match=r"redirects to https://login.example/\?a=1"):
            client.answer(QUESTION, CONTEXT)
        with AdminClient(Address.parse(url)) as admin:
            for ask in (admin.models, admin.reload, admin.is_ready, admin.metrics):
                with pytest.raises(ProtocolError, match=r"redirects to https://login.example"):
                    ask()
            del answers[0]
            with pytest.raises(ServerUnreachableError, match=r"A gateway at .*no healthy"):
                admin.models()
        with pytest.raises(ServerUnreachableError, match=r"A gateway at .*no healthy upstream"):
            client.answer(QUESTION, CONTEXT)
