"""The proxies of the environment: never before this machine, named elsewhere, never a surprise."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bertqa import TLS, QATokenizer
from bertqa.errors import AccessDeniedError, InvalidOptionError, ServerUnreachableError
from bertqa.transport import AdminClient, Security, served_versions
from bertqa.transport._address import Address, is_loopback, leads_to_loopback
from bertqa.transport._http import proxy_of
from bertqa.transport._proxies import proxy_error
from tests.support.certificates import Authority
from tests.support.engines import Served
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
NONSENSE = [
    "::::",
    "http://[bad",
    "http://",
    "http://:3128",
    "ftp://proxy:21",
    "http://proxy:port",
    "http://proxy:99999999",
    "proxy:3128:80",
    "http://pro\u0001xy",
    "socks5://127.0.0.1:1",
    "socks4://proxy:1",
    "\udcff",
    "a b",
]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@contextmanager
def http_proxy(leads_to: int | None, status: int = 200) -> Iterator[tuple[int, list[str]]]:
    """A proxy that leads everything to one port of this machine, or answers with a status."""
    asked: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        if leads_to is None or not head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 %d -\r\ncontent-length: 0\r\n\r\n" % status)
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await pipe_to(leads_to)(reader, writer)

    with tcp_server(handle) as port:
        yield port, asked


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("value", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "::::"])
@pytest.mark.parametrize("scheme", ["grpc", "dns", "http", "tfs"])
def test_nothing_on_this_machine_is_called_through_a_proxy(
    open_client: Twins,
    server: Served,
    scheme: str,
    value: str,
    upper: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in VARIABLES[:4]:
        monkeypatch.setenv(variable.upper() if upper else variable, value)
    client = open_client(**server.address(scheme), timeout=60)
    assert client.answer(QUESTION, CONTEXT).model_version == 2
    follower = open_client(**server.address(scheme), traffic="auto", timeout=60)
    assert follower.answer(QUESTION, CONTEXT).text
    with AdminClient(Address.parse(server.rest_url)) as admin:
        assert admin.is_ready()
        assert admin.models()
    assert served_versions(server.rest_url)


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY", "all_proxy", "https_proxy"])
@pytest.mark.parametrize("scheme", ["http", "https", "grpc", "grpcs"])
def test_a_proxy_that_cannot_be_used_is_named_before_anything_is_sent(
    open_client: Twins,
    scheme: str,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    url = f"{scheme}://models.invalid:1"
    if not is_used(scheme, variable, value):
        open_client(url, tokenizer=TOKENIZER)
        return
    words = f"of the environment variable {variable} cannot be used"
    with pytest.raises(InvalidOptionError, match=words) as caught:
        open_client(url, tokenizer=TOKENIZER)
    assert str(caught.value).isprintable()


def is_used(scheme: str, variable: str, value: str = "") -> bool:
    """Whether a variable is for the calls of a scheme; gRPC passes over what is not HTTP."""
    if scheme.startswith("grpc"):
        is_http = "://" not in value or value.startswith("http://")
        return is_http and variable in ("grpc_proxy", "http_proxy", "https_proxy")
    return variable.lower() in (f"{scheme}_proxy", "all_proxy")


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY", "grpc_proxy"])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_an_error_names_the_proxy_that_was_called(
    open_client: Twins, scheme: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://user:s3cret@127.0.0.1:1")
    client = open_client(f"{scheme}://models.invalid:1", tokenizer=TOKENIZER, timeout=5.0)
    with pytest.raises(ServerUnreachableError) as caught:
        client.answer(QUESTION, CONTEXT)
    words = f"the proxy http://127.0.0.1:1 of the environment variable {name}"
    assert (words in str(caught.value)) == is_used(scheme, name)
    assert "s3cret" not in str(caught.value)


def test_a_proxy_leads_to_a_server_elsewhere(
    open_client: Twins, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(server.grpc_port) as (port, asked):
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")
        client = open_client("grpc://models.invalid:9000", tokenizer=TOKENIZER, timeout=60.0)
        assert client.answer(QUESTION, CONTEXT).model_version == 2
    assert asked[0].startswith("CONNECT models.invalid:9000 ")


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_tunnel_through_a_proxy_is_checked_against_the_name_of_its_server(
    open_client: Twins,
    server: Served,
    tmp_path: Path,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, name = Authority(tmp_path), "models.example"
    alpn, behind = ("h2", server.grpc_port) if scheme == "grpcs" else ("http/1.1", server.rest_port)
    tls = TLS(ca=authority.ca, server_name=name)
    with (
        tcp_server(pipe_to(behind), authority.context(name, alpn=alpn)) as end,
        http_proxy(end) as (port, asked),
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        url = f"{scheme}://forwarded.invalid:9000"
        client = open_client(url, tokenizer=TOKENIZER, tls=tls, timeout=60.0)
        assert client.answer(QUESTION, CONTEXT).model_version == 2
        if scheme == "https":
            with AdminClient(Address.parse(url), Security.of(tls)) as admin:
                assert admin.is_ready()
    assert asked[0].startswith("CONNECT forwarded.invalid:9000 ")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(("status", "words"), [(407, "authentication|407"), (502, "502")])
def test_a_proxy_that_refuses_is_named(
    open_client: Twins, scheme: str, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(None, status) as (port, _):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        client = open_client(f"{scheme}://models.invalid:1", tokenizer=TOKENIZER, timeout=5.0)
        with pytest.raises((ServerUnreachableError, AccessDeniedError)) as caught:
            client.answer(QUESTION, CONTEXT)
    assert f"the proxy http://127.0.0.1:{port} of the environment variable" in str(caught.value)
    assert re.search(words, f"{caught.value} {caught.value.detail}")


@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
@pytest.mark.parametrize("status", [407, 403])
def test_a_proxy_that_refuses_to_lead_to_a_server_is_asked_once(
    open_client: Twins, scheme: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(None, status) as (port, asked):
        for variable in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        client = open_client(f"{scheme}://models.invalid:1", tokenizer=TOKENIZER, timeout=60.0)
        with pytest.raises(AccessDeniedError) as caught:
            client.answer(QUESTION, CONTEXT)
        assert len(asked) == 1
    words = "A proxy in front of .* requires authentication: write its user name"
    if status == 403:
        words = "denies access" if scheme == "http" else "refuses to lead there .status 403"
    assert re.search(words, str(caught.value))
    assert "the proxy http://127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("407 Proxy Authentication Required", "requires authentication"),
        ("HTTP proxy returned response code 407", "requires authentication"),
        ("Invalid username/password", "requires authentication"),
        ("403 Forbidden", "refuses to lead there"),
    ],
)
def test_messages_about_a_proxy_that_refuses_are_understood(detail: str, words: str) -> None:
    assert words in str(proxy_error("https://models:1", detail))
    for passing in ("502 Bad Gateway", "response code 503", "Proxy Server could not connect: 4."):
        assert proxy_error("https://models:1", passing) is None


@pytest.mark.parametrize(
    ("no_proxy", "address", "excepted"),
    [
        ("*", "http://models.example", True),
        ("models.example", "http://models.example", True),
        ("models.example", "http://a.models.example", True),
        (".example", "grpc://models.example", True),
        ("*.example", "grpc://models.example", True),
        ("MODELS.example", "http://models.example", True),
        ("other, models.example:9000 ", "grpc://models.example:9000", True),
        ("models.example:9000", "grpc://models.example:9001", False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "grpc://10.1.2.3", True),
        ("fd00::/8", "http://[fd00::1]", True),
        ("models.example.", "http://models.example", True),
        ("models.example", "grpc://models.example.", True),
        (".example.", "http://models.example", True),
        ("ample", "http://models.example", False),
        (",,/,[,:", "http://models.example", False),
        ("", "http://models.example", False),
    ],
)
def test_a_host_is_excepted_as_other_programs_do_it(
    no_proxy: str, address: str, excepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, no_proxy)
        assert (proxy_of(Address.parse(address)) is None) == excepted
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.1", True),
        ("127.200.3.4", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("models", False),
        ("127.0.0.1 models", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_all_its_names(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
    assert leads_to_loopback(host) == (expected or host in ("0.0.0.0", "::"))
