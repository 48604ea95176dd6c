"""What a user passes for the security of a connection is used, or refused, and never ignored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import grpc
import pytest

from bertqa import TLS, BertQAError, QATokenizer
from bertqa.errors import AccessDeniedError, DeadlineExceededError, InvalidOptionError
from bertqa.transport import AdminClient, Security, served_versions
from bertqa.transport._address import Address
from tests.support.gates import GrpcGate, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
PLAIN = ["models:9000", "grpc://models:9000", "dns:///models:9000", "http://models", "tfs://models"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X-Key": "a\nb"}, "'X-Key' .*printable ASCII"),
        ({"X-Key": "a\r\nX-Other: b"}, "'X-Key'"),
        ({"X-Key": "a\x00"}, "'X-Key'"),
        ({"X-Key": "\x1b[31m"}, "'X-Key'"),
        ({"X-Key": "caf\u00e9"}, "'X-Key'"),
        ({"X-Key": "\udcff"}, "'X-Key'"),
        ({"X-Key": " a"}, "'X-Key'"),
        ({"X-Key": "a\n"}, "'X-Key'"),
        ({"X-Key": b"a"}, "'X-Key' .*bytes"),
        ({"X-Key": None}, "'X-Key' .*NoneType"),
        ({"X-Key": 5}, "'X-Key' .*int"),
        ({"": "a"}, "'' .*its name"),
        ({" ": "a"}, "' ' .*its name"),
        ({"X Key": "a"}, "'X Key' .*its name"),
        ({"X-K\u00e9y": "a"}, "its name"),
        ({"X-Key\n": "a"}, "its name"),
        ({"X:Key": "a"}, "its name"),
        ({5: "a"}, "5 .*its name"),
        ({":authority": "a"}, "':authority' .*'Host'"),
        ({":path": "a"}, "':path' .*HTTP/2"),
        ({"grpc-timeout": "1S"}, "'grpc-timeout' .*gRPC itself"),
        ({"GRPC-Encoding": "gzip"}, "'GRPC-Encoding' .*gRPC itself"),
        ({"trace-bin": "a"}, "'trace-bin' .*binary"),
        ({"Content-Length": "5"}, "'Content-Length' .*protocol"),
        ({"Transfer-Encoding": "chunked"}, "'Transfer-Encoding' .*protocol"),
        ({"TE": "trailers"}, "'TE' .*protocol"),
        ({"Expect": "100-continue"}, "'Expect' .*protocol"),
        ({"Host": ""}, "'Host' .*name of a host"),
        ({"Host": "a b"}, "'Host' .*name of a host"),
        ({"Host": "models/a"}, "'Host' .*name of a host"),
        ({"X-Key": "a" * 65_536}, "65541 characters together.*65536 at most are sent"),
        ({f"x-{n}": "a" * 100 for n in range(1000)}, "characters together.*at most"),
        ({"X-Key": "a", "x-key": "b"}, "'x-key' .*twice"),
        ([("X-Key", "a")], "headers= is of type list"),
        ("X-Key: a", "headers= is of type str"),
    ],
)
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_header_that_cannot_be_sent_is_named(
    open_client: Twins, scheme: str, headers: Any, words: str
) -> None:
    with pytest.raises(InvalidOptionError, match=f"(?s){words}"):
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, headers=headers)


@pytest.mark.parametrize(
    "token", ["", "\n", " a", "a ", "a\n\n", "a\nb", "\ufefftoken", "caf\u00e9", "a\x00", b"a", 5]
)
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_token_that_cannot_be_sent_is_refused(
    open_client: Twins, scheme: str, token: Any
) -> None:
    with pytest.raises(InvalidOptionError, match=r"token= (is|has)") as caught:
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, token=token)
    assert "caf" not in str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
async def test_the_newline_at_the_end_of_a_token_is_left_out(end: str) -> None:
    for token in (f"s3cret{end}", lambda: f"s3cret{end}"):
        security = Security.of(token=token)
        assert security.sync_headers(60) == {"authorization": "Bearer s3cret"}
        assert await security.async_headers(60) == {"authorization": "Bearer s3cret"}
        assert "s3cret" not in repr(security)


def test_a_token_and_a_header_of_its_own_contradict_each_other() -> None:
    with pytest.raises(InvalidOptionError, match="token= or the header 'authorization'"):
        Security.of(token="a", headers={"Authorization": "Basic b"})


async def test_a_token_that_cannot_be_had_is_an_error_of_this_project() -> None:
    def fails() -> str:
        raise OSError("the file is gone")

    async def fails_later() -> str:
        raise OSError("the file is gone")

    def refuses() -> str:
        raise BertQAError("no")

    with pytest.raises(AccessDeniedError, match="token= raised OSError: the file is gone"):
        Security.of(token=fails).sync_headers(60)
    for failing in (fails, fails_later):
        with pytest.raises(AccessDeniedError, match="token= raised OSError: the file is gone"):
            await Security.of(token=failing).async_headers(60)
    with pytest.raises(BertQAError, match=r"^no$"):
        Security.of(token=refuses).sync_headers(60)
    with pytest.raises(InvalidOptionError, match="AsyncQAClient alone"):
        Security.of(token=fails_later).sync_headers(60)
    returns_none: Any = lambda: None  # noqa: E731
    with pytest.raises(InvalidOptionError, match="NoneType"):
        Security.of(token=returns_none).sync_headers(60)


async def test_a_token_whose_own_task_was_cancelled_is_one_that_cannot_be_had() -> None:
    def cancelled() -> str:
        raise asyncio.CancelledError

    async def cancelled_later() -> str:
        raise asyncio.CancelledError

    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    with pytest.raises(AccessDeniedError, match="token= raised CancelledError"):
        Security.of(token=cancelled).sync_headers(60)
    for failing in (cancelled, cancelled_later):
        with pytest.raises(AccessDeniedError, match="token= raised CancelledError"):
            await Security.of(token=failing).async_headers(60)
    waiting = asyncio.create_task(Security.of(token=hangs).async_headers(60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("how", ["function", "coroutine"])
def test_a_token_that_does_not_come_in_time_is_named_over_both_protocols(
    open_client: Twins, scheme: str, how: str
) -> None:
    if open_client.kind == "sync" and how == "coroutine":
        return  # It is refused.
    never = threading.Event()

    def late() -> str:
        never.wait(0.2 if open_client.kind == "async" else 60)
        return "s3cret"

    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    token: Any = late if how == "function" else hangs
    client = open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, token=token, timeout=0.1)
    with pytest.raises(DeadlineExceededError, match=r"token= returned none within 0\.\d+ s"):
        client.answer("Who?", "The Normans.")
    if open_client.kind == "sync" and scheme == "http":
        address, security = Address.parse("http://localhost:1"), Security.of(token=late)
        with (
            AdminClient(address, security, timeout=0.1) as admin,
            pytest.raises(DeadlineExceededError, match=r"token= returned none within 0\.1 s"),
        ):
            admin.models()
    never.set()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("how", ["token", "header", "copy", "none"])
def test_credentials_that_are_refused_are_said_to_be_that(
    open_client: Twins, scheme: str, how: str
) -> None:
    said = b'{"error": "an obstacle"}'

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 -\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))
        await writer.drain()

    basic = {"Authorization": "Basic abc"}
    options: dict[str, Any] = {"token": {"token": "s3cret"}, "header": {"headers": basic}}
    with tcp_server(refuse) as rest_port, GrpcGate(rest_port) as gate:
        gate.obstacles = [grpc.StatusCode.UNAUTHENTICATED]
        port = gate.port if scheme == "grpc" else rest_port
        client = open_client(
            f"{scheme}://localhost:{port}", tokenizer=TOKENIZER, **options.get(how, {})
        )
        if how == "copy":
            client = client.with_options(headers=basic)
        with pytest.raises(AccessDeniedError) as caught:
            client.answer(QUESTION, CONTEXT)
    words = "requires authentication" if how == "none" else "refused the token, or the header"
    assert words in str(caught.value)
    assert "(an obstacle): pass " in str(caught.value)
    assert "s3cret" not in str(caught.value)


NOTE = "says over REST which tokenizer"


@pytest.mark.parametrize(
    ("answer", "is_noted"),
    [
        (b"302 -\r\nlocation: https://login.example\r\ncontent-length: 0\r\n\r\n", False),
        (b"500 -\r\ncontent-length: 4\r\n\r\nboom", False),
        (b"504 -\r\ncontent-length: 0\r\n\r\n", False),
        (b"404 -\r\ncontent-length: 4\r\n\r\nnone", True),
        (b"200 -\r\ncontent-length: 18\r\n\r\n<html>Login</html>", True),
    ],
)
def test_the_rest_address_of_a_grpc_client_is_doubted_where_it_may_be_wrong(
    open_client: Twins, answer: bytes, is_noted: bool
) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + answer)
        await writer.drain()

    with tcp_server(reply) as port:
        rest = f"http://localhost:{port}"
        for url, noted in ((f"grpc://localhost:{port + 1000}", is_noted), (rest, False)):
            with pytest.raises(BertQAError) as caught:
                open_client(url).answer(QUESTION, CONTEXT)
            assert (NOTE in str(caught.value)) == noted
            assert rest in str(caught.value)


def test_a_late_token_casts_no_doubt_on_an_address(open_client: Twins) -> None:
    never = threading.Event()

    def late() -> str:
        never.wait(0.2 if open_client.kind == "async" else 60)
        return "s3cret"

    client = open_client("grpc://localhost:1001", token=late, timeout=0.1)
    with pytest.raises(DeadlineExceededError) as caught:
        client.answer(QUESTION, CONTEXT)
    never.set()
    assert NOTE not in str(caught.value)
    with pytest.raises(BertQAError, match=NOTE):
        open_client("grpc://localhost:1001", timeout=60.0).answer(QUESTION, CONTEXT)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("token", [None, b"s3cret", "", "a\nb", 5])
def test_a_function_that_returns_no_token_is_named_over_both_protocols(
    open_client: Twins, scheme: str, token: Any
) -> None:
    client = open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, token=lambda: token)
    with pytest.raises(InvalidOptionError, match=r"token= (is|has)"):
        client.answer(QUESTION, CONTEXT)


@pytest.mark.parametrize("tls", [TLS(), TLS(ca="ca.pem"), TLS(server_name="models.example")])
@pytest.mark.parametrize("url", [*PLAIN, "localhost:9000", "http://localhost:8000"])
def test_tls_for_an_address_that_is_not_encrypted_is_refused(
    open_client: Twins, url: str, tls: TLS
) -> None:
    with pytest.raises(InvalidOptionError, match=r"not encrypted: write (\w+s):/") as caught:
        open_client(url, tokenizer=TOKENIZER, tls=tls)
    encrypted = str(caught.value).split(": write ")[1].split(", or")[0]
    assert Address.parse(encrypted).is_secure


@pytest.mark.parametrize("url", PLAIN)
def test_a_token_for_an_address_that_is_not_encrypted_is_refused(
    open_client: Twins, url: str
) -> None:
    with pytest.raises(InvalidOptionError, match=r"token .*not encrypted") as caught:
        open_client(url, tokenizer=TOKENIZER, token="s3cret")
    assert "s3cret" not in str(caught.value)
    open_client(url, tokenizer=TOKENIZER, headers={"Authorization": "Bearer s3cret"})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "a.localhost", "127.1"])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_token_for_this_machine_is_sent(open_client: Twins, scheme: str, host: str) -> None:
    open_client(f"{scheme}://{host}:9000", tokenizer=TOKENIZER, token="s3cret")


def test_the_address_that_describes_the_model_counts_too(open_client: Twins) -> None:
    with pytest.raises(InvalidOptionError, match="way to http://models:8000"):
        open_client("grpcs://models:9000", metadata_url="http://models:8000", token="s3cret")
    with contextlib.suppress(InvalidOptionError):
        open_client("grpc://models", metadata_url="https://models", tls=TLS(ca="missing.pem"))
        raise AssertionError("a file that is missing was not noticed")


def test_the_admin_client_refuses_the_same() -> None:
    address = Address.parse("http://models:8000")
    for security in (Security.of(TLS()), Security.of(token="s3cret")):
        with pytest.raises(InvalidOptionError, match="not encrypted"):
            AdminClient(address, security)
        with pytest.raises(InvalidOptionError, match="not encrypted"):
            served_versions("models:9000", security=security)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:9000", "grpcs://localhost:9000"),
        ("grpc://[::1]", "grpcs://[::1]:9000"),
        ("dns:///models", "dnss:///models:9000"),
        ("DNS:///models", "dnss:///models:9000"),
        ("tfs://models", "tfss://models:9000"),
        ("http://models/team", "https://models:8000/team"),
        ("https://models", "https://models:8000"),
    ],
)
def test_every_form_of_address_has_an_encrypted_twin(text: str, expected: str) -> None:
    address = Address.parse(text).encrypted
    assert str(address) == expected
    assert address.is_secure
    assert Address.parse(expected) == address
    assert address.encrypted == address


@pytest.mark.parametrize(
    "text",
    ["ipv4:10.0.0.1:9000", "ipv6:[::1]:9000", "unix:/run/ovms", "unix:///run/ovms", "dns:models:9"],
)
def test_a_form_of_grpc_alone_is_refused_with_one_that_can_be_written(text: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"form of gRPC alone.*grpcs://host:port"):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    ["http://a b", "a b:9000", "http://" + "a" * 64, "x..y:9000", "http://h/\x01", "grpc://\u2028"],
)
def test_a_host_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="address"):
        Address.parse(text)


def test_a_name_in_another_script_is_asked_for_as_name_servers_have_it() -> None:
    assert Address.parse("https://b\u00fccher.example").host == "xn--bcher-kva.example"


async def test_a_token_and_headers_that_no_server_takes_together_are_refused() -> None:
    whole, half = "t" * 65_536, "t" * 33_000
    for given in ({"token": whole}, {"token": half, "headers": {"x-key": half}}):
        with pytest.raises(InvalidOptionError, match="characters together"):
            Security.of(**given)
    security = Security.of(token=lambda: half, headers={"x-key": half})
    with pytest.raises(InvalidOptionError, match="characters together"):
        security.sync_headers(60)
    with pytest.raises(InvalidOptionError, match="characters together"):
        await security.async_headers(60)
