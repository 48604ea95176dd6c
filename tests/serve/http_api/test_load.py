"""More requests than there is room for, deadlines, and clients that are slow or gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bertqa.errors import ProtocolError
from bertqa_serve.http_api import connections
from tests.support.http_api import HUGGING_FACE, ONE, Held
from tests.support.web import LOOPBACK

BODY = json.dumps(HUGGING_FACE).encode()
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    port = int(url.rpartition(":")[2])
    with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
        yield connection


def response(connection: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionResetError):
        return connection.makefile("rb").read()
    return b""


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    with Held(body_bytes=100_000, body_seconds=0.3) as held:
        yield held


def test_beyond_the_places_requests_are_refused_at_once() -> None:
    with Held(places=2) as held, ThreadPoolExecutor(2) as threads:
        held.hold()
        waiting = [
            threads.submit(httpx.post, held.url, json=HUGGING_FACE, timeout=60) for _ in range(2)
        ]
        until(lambda: len(held.requests.sent) == 2)
        refused = httpx.post(f"{held.url}/v1/answers", json=ONE, timeout=60)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "try again later" in refused.json()["error"]
        assert httpx.get(f"{held.url}/health/live", timeout=60).status_code == 200
        counts = httpx.get(f"{held.url}/metrics", timeout=60).text
        assert 'endpoint="/v1/answers",method="POST",status="503"} 1.0' in counts
        assert "bertqa_http_in_flight 2.0" in counts
        held.let_through()
        assert [each.result().status_code for each in waiting] == [200, 200]
        assert httpx.post(held.url, json=HUGGING_FACE, timeout=60).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/answers"])
def test_a_deadline_of_the_request_is_kept(held: Held, path: str) -> None:
    held.hold()
    body = HUGGING_FACE if path == "/" else {"pairs": [ONE] * 3}
    answered = httpx.post(
        f"{held.url}{path}", json=body, headers={"x-request-timeout": "100ms"}, timeout=60
    )
    held.let_through()
    assert answered.status_code == 504
    assert answered.json()["error"]


@pytest.mark.parametrize("body", [BODY, json.dumps({"inputs": [ONE] * 3}).encode()])
def test_a_client_that_hangs_up_cancels_its_work(held: Held, body: bytes) -> None:
    held.hold()
    requests = held.requests
    sent, cancelled = len(requests.sent), requests.cancelled
    with connected(held.url) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: len(requests.sent) > sent)
    until(lambda: requests.cancelled > cancelled)
    held.let_through()
    until(lambda: 'status="499"' in httpx.get(f"{held.url}/metrics", timeout=60).text)


def chunked(body: Iterable[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in body) + b"0\r\n\r\n"


def test_a_body_beyond_the_limit_is_refused_however_it_comes(held: Held) -> None:
    long = {"inputs": {**ONE, "context": "x" * 100_000}}
    assert httpx.post(held.url, json=long, timeout=60).status_code == 413
    with connected(held.url) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            chunks = chunked([b"x" * 10_000] * 10 + [b"x"])
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert response(connection).startswith(b"HTTP/1.1 413")
    with connected(held.url) as connection:
        body = chunked([BODY[:10], BODY[10:]])
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body)
        assert response(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 100\r\n\r\n",
        b"Content-Length: 100\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n",
    ],
)
def test_a_body_that_stalls_is_given_up(held: Held, sent: bytes) -> None:
    with connected(held.url) as connection:
        connection.sendall(HEAD + sent)
        answered = response(connection)
    assert answered.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 0.3 seconds" in answered


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n",
    ],
)
def test_what_follows_an_early_answer_is_not_awaited_without_end(
    held: Held, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with connected(held.url) as connection, contextlib.suppress(OSError):
        connection.sendall(head + b"Content-Length: 1000000\r\n\r\n")
        assert connection.recv(100_000).startswith(b"HTTP/1.1 ")
        connection.settimeout(0.02)
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100_000):
                    break


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /" + b"x" * 1_000_000,
        HEAD + b"X: " + b"x" * 1_000_000,
        HEAD + b"X: y\r\n" * 200_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 1_000_000,
    ],
)
def test_a_head_without_end_is_not_held(
    held: Held, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1000.0)
    with connected(held.url) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        assert response(connection)[:12] in (b"HTTP/1.1 431", b"")
    assert httpx.post(held.url, json=HUGGING_FACE, timeout=60).status_code == 200


def test_trailers_are_not_taken_for_headers(held: Held) -> None:
    chunks = b"%x\r\n%s\r\n0\r\nx-bert-qa-version: many\r\n\r\n" % (len(BODY), BODY)
    sent = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    with connected(held.url) as connection:
        connection.sendall(sent + sent.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))
        assert response(connection).count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("length", [b"many", b"-1", b"1e3", b"5, 6"])
def test_a_malformed_length_is_a_bad_request(held: Held, length: bytes) -> None:
    with connected(held.url) as connection:
        connection.sendall(HEAD + b"Content-Length: " + length + b"\r\n\r\n{}")
        head, _, body = response(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert json.loads(body)["error"]


def offering(body: bytes) -> bytes:
    """Return a request as Java's client sends it, which offers HTTP/2."""
    return (
        HEAD
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


def test_a_request_that_offers_another_protocol_is_answered_in_http_1_1(held: Held) -> None:
    last = offering(BODY).replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    sent = (
        offering(BODY) * 2
        + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
        + (b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + last)
    )
    with connected(held.url) as connection:
        connection.sendall(sent)
        together = response(connection)
    with connected(held.url) as connection:
        for byte in (sent[place : place + 7] for place in range(0, len(sent), 7)):
            connection.sendall(byte)
        in_pieces = response(connection)
    for answered in (together, in_pieces):
        assert answered.count(b"HTTP/1.1 200 OK") == 4
        assert answered.count(b'"answer":"') == 3


def test_a_tunnel_is_refused(held: Held) -> None:
    with connected(held.url) as connection:
        connection.sendall(b"CONNECT a.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert response(connection).startswith(b"HTTP/1.1 400")


def test_what_is_not_answered_before_the_end_is_503() -> None:
    with Held() as held, ThreadPoolExecutor(1) as threads:
        held.hold()
        waiting = threads.submit(httpx.post, held.url, json=HUGGING_FACE, timeout=60)
        until(lambda: len(held.requests.sent) == 1)
        held.end()
        answered = waiting.result()
    assert answered.status_code == 503
    assert "is being stopped" in answered.json()["error"]


def test_a_list_of_lines_that_the_end_cuts_off_says_so() -> None:
    many = {"pairs": [{**ONE, "question": f"Who is {number}?"} for number in range(3000)]}
    headers = {"accept": "application/x-ndjson"}
    with Held() as held:
        address = f"{held.url}/v1/answers"
        with httpx.stream("POST", address, json=many, headers=headers, timeout=60) as answered:
            lines = answered.iter_lines()
            assert "answers" in next(lines)
            held.hold()
            with ThreadPoolExecutor(1) as threads:
                ending = threads.submit(held.end)
                *_, last = lines
                ending.result()
    assert json.loads(last) == {
        "error": "The service is being stopped: ask again.",
        "status": 503,
    }


@pytest.mark.parametrize("sent", [b"", b"POST / HT", HEAD])
def test_a_connection_without_a_whole_head_is_closed(
    held: Held, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with connected(held.url) as connection:
        connection.sendall(sent)
        assert response(connection) == b""


def test_a_kept_connection_has_any_number_of_requests(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    with httpx.Client(base_url=held.url, timeout=60) as client:
        for _ in range(3):
            assert client.post("/", json=HUGGING_FACE).status_code == 200
            time.sleep(0.15)


@pytest.mark.thorough
async def test_500_connections_at_once_are_all_answered() -> None:
    limits = httpx.Limits(max_connections=500)
    with Held(client={"timeout": 120.0}) as held:
        held.hold()
        async with httpx.AsyncClient(base_url=held.url, limits=limits, timeout=120) as client:
            asking = [asyncio.create_task(client.post("/", json=HUGGING_FACE)) for _ in range(500)]
            while "bertqa_http_in_flight 500.0" not in (await _metrics(held.url)):
                await asyncio.sleep(0.05)
                assert not any(each.done() for each in asking)
            held.let_through()
            answers = await asyncio.gather(*asking)
    assert {each.status_code for each in answers} == {200}
    assert len({each.text for each in answers}) == 1


async def _metrics(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{url}/metrics", timeout=60)).text


@pytest.mark.thorough
def test_a_slow_reader_holds_up_no_other_request_and_gets_all_lines() -> None:
    long = {**ONE, "context": ONE["context"] * 20}
    body = json.dumps({"context": long["context"], "pairs": [{"question": "Who?"}] * 3000})
    head = HEAD.replace(b"POST /", b"POST /v1/answers") + b"Accept: application/x-ndjson\r\n"
    with Held(body_bytes=1_000_000) as slow, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(120)
        connection.connect((LOOPBACK, int(slow.url.rpartition(":")[2])))
        sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body.encode()
        connection.sendall(sent)
        assert httpx.post(slow.url, json=HUGGING_FACE, timeout=120).status_code == 200
        lines = 0
        with connection.makefile("rb") as stream:
            for line in stream:
                lines += line.startswith(b'{"answers"')
                if lines == 3000:
                    break
    assert lines == 3000


def test_a_failure_in_a_list_of_lines_is_its_last_line(held: Held) -> None:
    many = {"pairs": [{**ONE, "question": f"Who is {number}?"} for number in range(3000)]}
    headers = {"accept": "application/x-ndjson"}
    with Held() as other:
        url = f"{other.url}/v1/answers"
        with httpx.stream("POST", url, json=many, headers=headers, timeout=120) as answered:
            lines = answered.iter_lines()
            assert "answers" in json.loads(next(lines))
            other.requests.failing += [lambda: ProtocolError("It answers nonsense.")] * 10_000
            *_, last = lines
    assert json.loads(last) == {"error": "It answers nonsense.", "status": 502}
