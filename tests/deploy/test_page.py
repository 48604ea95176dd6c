from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterable, Iterator

import httpx
import pytest

from bertqa import QAClient
from bertqa.evaluation import System
from bertqa_deploy.errors import DeployError
from bertqa_deploy.page import LONGEST_BODY, LOOPBACK, serve_page
from tests.deploy.page_server import serving_page
from tests.support.in_process import InProcessTransport
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_page() as url:
        yield url


@pytest.mark.parametrize("body", [[], {"question": "Who?"}, {"question": 1, "context": "It."}])
def test_a_request_without_question_and_context_is_refused(url: str, body: object) -> None:
    answered = httpx.post(f"{url}/ask", json=body)
    assert answered.status_code == 400
    assert "has to" in answered.json()["error"]


HEAD = (
    "POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    "Connection: close\r\n"
)


def status_line(url: str, head: str, chunks: Iterable[bytes]) -> str:
    """Send a request as it is, as far as the server reads it, and return the status line."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode() + b"\r\n")
            for chunk in chunks:
                connection.sendall(chunk)
        return connection.makefile("rb").readline().decode().strip()


def chunked(body: Iterable[bytes]) -> Iterator[bytes]:
    for part in body:
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


def test_a_chunked_body_beyond_the_limit_is_refused(url: str) -> None:
    head = HEAD + "Transfer-Encoding: chunked\r\n"
    one_more = [b"x" * 2**16] * (LONGEST_BODY // 2**16) + [b"x"]
    assert status_line(url, head, chunked(one_more)).startswith("HTTP/1.1 413")
    body = [b'{"question": "Who?", ', b'"context": "It was Anna Berg."}']
    assert status_line(url, head, chunked(body)).startswith("HTTP/1.1 200")


def test_a_body_with_a_length_beyond_the_limit_is_refused(url: str) -> None:
    body = b" " * (LONGEST_BODY + 1)
    head = f"{HEAD}Content-Length: {len(body)}\r\n"
    assert status_line(url, head, [body]).startswith("HTTP/1.1 413")


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ("Content-Length: 100\r\n", b""),
        ("Content-Length: 100\r\n", b'{"question"'),
        ("Transfer-Encoding: chunked\r\n", b"5\r\n{    \r\n"),
    ],
)
def test_a_body_that_stalls_is_given_up(headers: str, sent: bytes) -> None:
    head = HEAD.replace("Connection: close\r\n", headers)
    with serving_page(body_seconds=0.2) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
            connection.sendall(head.encode() + b"\r\n" + sent)
            answered = connection.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 0.2 seconds" in answered


@pytest.mark.parametrize("length", ["many", "-1", "1e3", "5, 6"])
def test_a_malformed_length_is_a_bad_request(url: str, length: str) -> None:
    head = f"{HEAD}Content-Length: {length}\r\n"
    assert status_line(url, head, [b"{}"]).startswith("HTTP/1.1 400")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000, b"1" * 5000, b"NaN", b'{"question": "Who?"}'],
    ids=["empty", "cut off", "not UTF-8", "nested", "long number", "no object", "no context"],
)
def test_a_malformed_body_is_a_bad_request(url: str, body: bytes) -> None:
    head = f"{HEAD}Content-Length: {len(body)}\r\n"
    assert status_line(url, head, [body]).startswith("HTTP/1.1 400")


def test_half_a_surrogate_pair_is_an_error_of_the_versions(url: str) -> None:
    body = rb'{"question": "Who \ud800?", "context": "It was \udfff Anna."}'
    head = f"{HEAD}Content-Length: {len(body)}\r\n"
    assert status_line(url, head, [body]).startswith("HTTP/1.1 200")


def test_an_error_of_one_version_is_shown_in_its_place(url: str) -> None:
    answered = httpx.post(f"{url}/ask", json={"question": " ", "context": "It."})
    assert answered.status_code == 200
    assert all("question" in each["error"] for each in answered.json()["results"])


def test_another_site_cannot_use_the_page(url: str) -> None:
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
    assert "default-src 'none'" in httpx.get(url).headers["Content-Security-Policy"]


def test_a_port_that_is_taken_is_named(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with QAClient(transport=InProcessTransport()) as client:
        system = System("version 1", client, 1)
        with pytest.raises(DeployError, match=f"Port {port} .* another process listens there"):
            serve_page(system, system, port)


def test_the_page_is_served_until_it_is_interrupted() -> None:
    port = free_port()
    answered: list[int] = []

    def ask_and_interrupt() -> None:
        answered.append(httpx.get(f"http://{LOOPBACK}:{port}").status_code)
        signal.raise_signal(signal.SIGINT)

    with QAClient(transport=InProcessTransport()) as client:
        system = System("version 1", client, 1)
        threads = []

        def on_ready() -> None:
            threads.append(threading.Thread(target=ask_and_interrupt))
            threads[0].start()

        serve_page(system, system, port, on_ready)
    threads[0].join()
    assert answered == [200]
