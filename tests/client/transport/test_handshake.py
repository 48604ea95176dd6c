"""Why a TLS handshake failed, where the words of the server leave that open."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bertqa import TLS, QATokenizer
from bertqa.errors import CertificateError
from bertqa.transport import Security, served_versions
from tests.support.certificates import Authority
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())
ALPN = {"grpcs": "h2", "https": "http/1.1"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def alerting_server(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says by an alert why it refuses a handshake, which those of asyncio do not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as it:
                        it.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
@pytest.mark.parametrize(
    ("mutual", "ciphers", "words"),
    [
        (True, None, "requires a client's certificate that it trusts"),
        # A cipher of RSA, where the certificate is of an elliptic curve.
        (False, "ECDHE-RSA-AES128-SHA", "accepts no TLS version or cipher of this client"),
    ],
)
def test_a_refused_handshake_is_blamed_on_the_clients_certificate_where_one_was_asked_for(
    open_client: Twins,
    authority: Authority,
    scheme: str,
    mutual: bool,
    ciphers: str | None,
    words: str,
) -> None:
    context = authority.context(alpn=ALPN[scheme], mutual=mutual)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if ciphers is not None:
        context.set_ciphers(ciphers)
    tls = TLS(ca=authority.ca)
    with alerting_server(context) as port:
        url = f"{scheme}://localhost:{port}"
        client = open_client(url, tokenizer=TOKENIZER, tls=tls, timeout=60.0)
        with pytest.raises(CertificateError, match=f"{url} {words}"):
            client.answer(QUESTION, CONTEXT)
        if scheme == "https":
            with pytest.raises(CertificateError, match=words):
                served_versions(url, security=Security.of(tls))
