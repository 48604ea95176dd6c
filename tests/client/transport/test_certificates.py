"""What is wrong with certificates is said as that, over gRPC as over REST."""

from __future__ import annotations

import asyncio
import codecs
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertqa import TLS, BertQAError, QATokenizer
from bertqa.errors import CertificateError, InvalidOptionError, ServerUnreachableError
from bertqa.transport import AdminClient, Security, served_versions
from bertqa.transport._address import Address
from bertqa.transport._certificates import certificate_error
from tests.support.certificates import Authority
from tests.support.engines import Served
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
ALPN = {"grpcs": "h2", "tfss": "h2", "https": "http/1.1"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


async def read_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def as_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await writer.drain()


def fails(open_client: Twins, url: str, **options: Any) -> BertQAError:
    """What asking there ends in."""
    client = open_client(url, tokenizer=TOKENIZER, **{"timeout": 20.0, **options})
    with pytest.raises(BertQAError) as caught:
        client.answer(QUESTION, CONTEXT)
    return caught.value


Context = Callable[[Authority], ssl.SSLContext | None]


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize(
    ("made", "trusts", "sentence"),
    [
        ({}, "stranger", "is not trusted: pass the certificate of its authority as ca="),
        ({}, "system", "is not trusted: pass the certificate of its authority as ca="),
        ({"name": "models.example"}, "authority", "is for another name.* as server_name="),
        ({"expired": True}, "authority", "has expired"),
        ({"mutual": True}, "authority", "require a client's certificate"),
    ],
)
def test_a_fault_of_a_certificate_has_the_same_words_on_both_protocols(
    open_client: Twins,
    authority: Authority,
    stranger: Authority,
    scheme: str,
    made: dict[str, Any],
    trusts: str,
    sentence: str,
) -> None:
    tls = {
        "authority": TLS(ca=authority.ca),
        "stranger": TLS(ca=stranger.ca),
        "system": None,
    }[trusts]
    with tcp_server(read_only, authority.context(alpn=ALPN[scheme], **made)) as port:
        url = f"{scheme}://localhost:{port}"
        error = fails(open_client, url, tls=tls)
    assert isinstance(error, CertificateError)
    assert isinstance(error, ServerUnreachableError)
    with pytest.raises(CertificateError, match=f"{url} .*{sentence}|{url} {sentence}"):
        raise error


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_client_whose_certificate_is_of_another_authority_learns_that(
    open_client: Twins, authority: Authority, stranger: Authority, scheme: str
) -> None:
    tls = TLS(authority.ca, stranger.certificate, stranger.key)
    with tcp_server(read_only, authority.context(alpn=ALPN[scheme], mutual=True)) as port:
        error = fails(open_client, f"{scheme}://localhost:{port}", tls=tls)
    assert isinstance(error, CertificateError)
    assert "require a client's certificate that it trusts" in str(error)


def test_the_admin_client_finds_out_that_a_server_speaks_tls_alone(authority: Authority) -> None:
    with (
        tcp_server(read_only, authority.context(alpn="http/1.1")) as port,
        pytest.raises(CertificateError, match=f"speaks TLS alone: write https://localhost:{port}"),
    ):
        served_versions(f"http://localhost:{port}")


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_server_without_tls_is_found_out(
    open_client: Twins, authority: Authority, scheme: str
) -> None:
    with tcp_server(as_http) as port:
        error = fails(open_client, f"{scheme}://localhost:{port}", tls=TLS(ca=authority.ca))
    assert isinstance(error, CertificateError)
    assert "does not speak TLS" in str(error)


@pytest.mark.parametrize("scheme", ["grpc", "http", "dns"])
@pytest.mark.parametrize("mutual", [False, True])
def test_a_server_with_tls_alone_is_found_out(
    open_client: Twins, authority: Authority, scheme: str, mutual: bool
) -> None:
    context = authority.context(alpn=ALPN["https"], mutual=mutual)
    with tcp_server(read_only, context) as port:
        slashes = ":///" if scheme == "dns" else "://"
        error = fails(open_client, f"{scheme}{slashes}localhost:{port}")
    assert isinstance(error, CertificateError)
    assert f"speaks TLS alone: write {scheme}s{slashes}localhost:{port}." in str(error)


@pytest.mark.parametrize("scheme", ["grpc", "http", "dns"])
def test_a_server_with_tls_alone_is_found_out_at_the_first_call(
    open_client: Twins, authority: Authority, scheme: str
) -> None:
    asked = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await pipe_to(port)(reader, writer)

    with (
        tcp_server(read_only, authority.context(alpn=ALPN["https"])) as port,
        tcp_server(count) as counted,
    ):
        slashes = ":///" if scheme == "dns" else "://"
        error = fails(open_client, f"{scheme}{slashes}127.0.0.1:{counted}")
    assert isinstance(error, CertificateError)
    assert asked == 2  # The call, and the handshake that shows the reason.


@pytest.mark.parametrize("named", [False, True])
def test_a_rest_address_with_tls_alone_leads_to_the_grpc_address_with_tls(
    open_client: Twins, authority: Authority, named: bool
) -> None:
    with tcp_server(read_only, authority.context(alpn=ALPN["https"])) as port:
        options = {"metadata_url": f"http://localhost:{port}"} if named else {}
        client = open_client(f"localhost:{port + (0 if named else 1000)}", **options)
        with pytest.raises(CertificateError) as caught:
            client.answer(QUESTION, CONTEXT)
    message = str(caught.value)
    assert f"speaks TLS alone: write https://localhost:{port}." in message
    if named:
        assert message.endswith("it takes. Correct metadata_url=, or pass tokenizer=.)")
    else:
        assert message.endswith(f"as well, write grpcs://localhost:{port + 1000}.)")


@pytest.mark.parametrize(
    "words",
    [
        b"The plain HTTP request was sent to HTTPS port",
        b"Client sent an HTTP request to an HTTPS server.",
    ],
)
def test_a_web_server_that_says_so_is_understood(open_client: Twins, words: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 -\r\ncontent-length: %d\r\n\r\n%s" % (len(words), words))
        await writer.drain()

    with tcp_server(refuse) as port:
        error = fails(open_client, f"http://localhost:{port}")
    assert isinstance(error, CertificateError)
    assert f"https://localhost:{port}" in str(error)


def test_the_rest_api_asked_over_grpc_with_tls_is_found_out(
    open_client: Twins, authority: Authority
) -> None:
    with tcp_server(read_only, authority.context(alpn="http/1.1")) as port:
        error = fails(open_client, f"grpcs://localhost:{port}", tls=TLS(ca=authority.ca))
    assert isinstance(error, CertificateError)
    assert "is it the port of the REST API?" in str(error)


@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
def test_a_server_that_only_hangs_up_is_not_called_one_of_tls(
    open_client: Twins, authority: Authority, scheme: str
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    tls = TLS(ca=authority.ca) if scheme.endswith("s") else None
    with tcp_server(hang_up) as port:
        error = fails(open_client, f"{scheme}://localhost:{port}", tls=tls)
    assert type(error) is ServerUnreachableError


def test_the_admin_client_says_it_in_the_same_words_and_does_not_ask_again(
    authority: Authority, stranger: Authority
) -> None:
    with tcp_server(read_only, authority.context(alpn="http/1.1")) as port:
        address = Address.parse(f"https://localhost:{port}")
        security = Security.of(TLS(ca=stranger.ca))
        with (
            AdminClient(address, security) as admin,
            pytest.raises(CertificateError, match="is not trusted"),
        ):
            admin.models()
        with pytest.raises(CertificateError, match="is not trusted"):
            served_versions(str(address), security=security, timeout=600)


@pytest.mark.parametrize(
    ("scheme", "mutual"), [("grpcs", False), ("grpcs", True), ("https", False), ("https", True)]
)
def test_a_tunnel_is_checked_against_the_name_of_its_server(
    open_client: Twins, server: Served, authority: Authority, scheme: str, mutual: bool
) -> None:
    """As with `kubectl port-forward`: the address is this machine, the certificate the server's."""
    name = "models.example"
    own: dict[str, Any] = (
        {"certificate": authority.certificate, "key": authority.key} if mutual else {}
    )
    tls = TLS(ca=authority.ca, server_name=name, **own)
    h2 = authority.context(name, alpn="h2", mutual=mutual)
    h1 = authority.context(name, alpn="http/1.1", mutual=mutual)
    with (
        tcp_server(pipe_to(server.grpc_port), h2) as grpc_port,
        tcp_server(pipe_to(server.rest_port), h1) as rest_port,
    ):
        port = grpc_port if scheme == "grpcs" else rest_port
        for host in ("localhost", "127.0.0.1"):
            # The description of the model is read by the same name.
            client = open_client(
                f"{scheme}://{host}:{port}",
                metadata_url=f"https://{host}:{rest_port}",
                tls=tls,
                timeout=60.0,
            )
            assert client.answer(QUESTION, CONTEXT).model_version == 2
        with AdminClient(Address.parse(f"https://127.0.0.1:{rest_port}"), Security.of(tls)) as it:
            assert it.is_ready()
        wrong = TLS(ca=authority.ca, server_name="other.example", **own)
        error = fails(open_client, f"{scheme}://localhost:{port}", tls=wrong)
    assert isinstance(error, CertificateError)
    assert "is for another name" in str(error)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_host_header_does_not_change_what_the_certificate_is_for(
    open_client: Twins, server: Served, authority: Authority, scheme: str, host: str
) -> None:
    with tcp_server(pipe_to(server.port(scheme)), authority.context(host, alpn=ALPN[scheme])) as at:
        client = open_client(
            f"{scheme}://{host}:{at}",
            tokenizer=TOKENIZER,
            tls=TLS(ca=authority.ca),
            headers={"Host": "bert-qa.team.example"},
            timeout=60.0,
        )
        assert client.answer(QUESTION, CONTEXT).model_version == 2


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca": "missing"}, "/missing.pem, passed as ca= of TLS, cannot be read: No such file"),
        ({"ca": "directory"}, "/directory.pem, passed as ca= of TLS, cannot be read: Is a dir"),
        ({"ca": "empty"}, "/empty.pem, passed as ca= of TLS, cannot be used: it holds no cert"),
        ({"ca": "broken"}, "/broken.pem, passed as ca= of TLS, cannot be used"),
        ({"ca": "key"}, "/key.pem, passed as ca= of TLS, cannot be used: it holds no certificate"),
        ({"certificate": "missing"}, "/missing.pem, passed as certificate= of TLS, cannot be read"),
        ({"certificate": "empty"}, "/empty.pem, passed as certificate= of TLS, cannot be used"),
        ({"key": "missing"}, "/missing.pem, passed as key= of TLS, cannot be read"),
        ({"key": "ca"}, "/ca.pem, passed as key= of TLS, cannot be used: it holds no private key"),
        ({"key": "other"}, "/other.pem, passed as key= .* cannot be used: it is not the key of"),
        ({"key": "locked"}, "/locked.pem, passed as key= of TLS, cannot be used: .*password"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_when_the_client_is_made(
    open_client: Twins,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    scheme: str,
    files: dict[str, str],
    words: str,
) -> None:
    made = {name: tmp_path / f"{name}.pem" for name in ("empty", "broken", "directory", "other")}
    made |= {"missing": tmp_path / "missing.pem", "locked": tmp_path / "locked.pem"}
    made |= {"key": authority.key, "ca": authority.ca}
    made["empty"].write_text("")
    made["broken"].write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    made["directory"].mkdir()
    made["other"].write_bytes(stranger.key.read_bytes())
    made["locked"].write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    paths: dict[str, Any] = {"certificate": authority.certificate, "key": authority.key}
    paths |= {name: made[which] for name, which in files.items()}
    with pytest.raises(InvalidOptionError, match=words):
        open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, tls=TLS(**paths))


@pytest.mark.parametrize(
    "options",
    [
        {"certificate": "c.pem"},
        {"key": "k.pem"},
        {"ca": 5},
        {"ca": b"ca.pem"},
        {"server_name": ""},
        {"server_name": "https://models.example"},
        {"server_name": "models.example\n"},
        {"server_name": "models.example:443"},
        {"server_name": ".models.example"},
        {"server_name": "models..example"},
        {"server_name": "a" * 64},
        {"server_name": ".".join(["a" * 63] * 5)},
        {"server_name": 5},
    ],
)
def test_tls_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="TLS"):
        TLS(**options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("certificate verify failed: self-signed certificate (_ssl.c:1006)", "is not trusted"),
        ("certificate verify failed: certificate is not yet valid", "is not valid yet"),
        ("[SSL: TLSV1_UNRECOGNIZED_NAME] tlsv1 alert unrecognized name", "for another name"),
        (
            "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert",
            "no TLS version or cipher of this client, or",
        ),
        ("400 No required SSL certificate was sent", "requires a client's certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS"),
        ("[SSL: SOMETHING_NEW] new", "The TLS handshake with"),
    ],
)
def test_what_libraries_say_is_understood(text: str, words: str) -> None:
    error = certificate_error("grpcs://models:9000", text)
    assert words in str(error)
    assert certificate_error("grpcs://models:9000", "Connection refused") is None
    eof = "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol"
    assert certificate_error("grpcs://models:9000", eof) is None


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("name", ["ca", "certificate"])
def test_a_pipe_or_a_device_is_refused_without_being_read(
    open_client: Twins, authority: Authority, tmp_path: Path, scheme: str, name: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        files: dict[str, Any] = {
            "certificate": authority.certificate,
            "key": authority.key,
            name: path,
        }
        with pytest.raises(
            InvalidOptionError, match=f"{path}, .* cannot be read: it is a pipe or a"
        ):
            open_client(f"{scheme}://localhost:1", tokenizer=TOKENIZER, tls=TLS(**files))


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize("marked", ["ca", "certificate", "key"])
def test_the_byte_order_mark_of_an_editor_means_nothing(
    open_client: Twins,
    authority: Authority,
    local_server: Served,
    tmp_path: Path,
    scheme: str,
    marked: str,
) -> None:
    files = {name: getattr(authority, name) for name in ("ca", "certificate", "key")}
    with_mark = tmp_path / "marked.pem"
    with_mark.write_bytes(codecs.BOM_UTF8 + files[marked].read_bytes())
    files[marked] = with_mark
    port = local_server.grpc_port if scheme == "grpcs" else local_server.rest_port
    context = authority.context(alpn=ALPN[scheme], mutual=True)
    with tcp_server(pipe_to(port), context) as tls_port:
        client = open_client(
            f"{scheme}://localhost:{tls_port}",
            tokenizer=TOKENIZER,
            tls=TLS(**files),
            timeout=60.0,
        )
        assert client.answer(QUESTION, CONTEXT).model_version == 2
