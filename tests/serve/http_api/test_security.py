"""Who may ask, what is passed on, and what is logged."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bertqa.errors import InvalidOptionError
from bertqa_cli.token_file import TokenFile
from bertqa_serve.http_api import HttpApiOptions
from bertqa_serve.http_api.logs import JsonLines
from tests.support.http_api import HUGGING_FACE, ONE, Held

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    with Held() as held:
        yield held


def test_a_token_is_required_where_one_is_set_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with Held(token=TokenFile(file)) as held, httpx.Client(base_url=held.url, timeout=60) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic first"}):
            for answered in (
                client.post("/", json=HUGGING_FACE, headers=headers),
                client.get("/v1/versions", headers=headers),
                client.get("/openapi.json", headers=headers),
            ):
                assert answered.status_code == 401
                assert answered.headers["www-authenticate"] == "Bearer"
                assert "first" not in answered.text
                is_wrong = "Bearer wrong" in headers.values()
                assert ("is not the one of this service" in answered.text) == is_wrong
        # Probes, counts and the page, which asks for the token.
        for path in ("/health/live", "/health/ready", "/metrics", "/"):
            assert client.get(path).status_code == 200
        right = {"authorization": "bearer first"}
        assert client.post("/", json=HUGGING_FACE, headers=right).status_code == 200
        file.write_text("second\n")
        assert client.post("/", json=HUGGING_FACE, headers=right).status_code == 401
        right = {"authorization": "Bearer second"}
        assert client.post("/", json=HUGGING_FACE, headers=right).status_code == 200


@pytest.mark.parametrize("token", [None, "first"])
def test_the_description_names_the_token_where_one_is_required(token: str | None) -> None:
    headers = {"authorization": f"Bearer {token}"}
    with Held(token=token) as held:
        described = httpx.get(f"{held.url}/openapi.json", headers=headers, timeout=60).json()
    secured = {path for path, methods in described["paths"].items() if "security" in str(methods)}
    if token is None:
        assert not secured
        assert "securitySchemes" not in described["components"]
    else:
        assert secured == {"/", "/models/{model}", "/v1/answers", "/v1/models", "/v1/versions"}
        assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_without_a_token_to_compare_with_no_request_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    headers = {"authorization": "Bearer first"}
    with Held(token=TokenFile(file)) as held, httpx.Client(base_url=held.url, timeout=60) as client:
        file.write_text("")
        empty = client.post("/", json=HUGGING_FACE, headers=headers)
        file.unlink()
        missing = client.post("/", json=HUGGING_FACE, headers=headers)
        assert client.get("/health/live").status_code == 200
    for answered in (empty, missing):
        assert answered.status_code == 503
        assert answered.headers["retry-after"] == "1"
        assert str(tmp_path) not in answered.json()["error"]
    messages = [each.getMessage() for each in caplog.records if each.name.startswith("bertqa")]
    assert any("does not hold a token" in each for each in messages)
    assert any("No such file" in each for each in messages)


def test_origins_are_off_and_can_be_allowed(held: Held) -> None:
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    assert httpx.options(held.url, headers=preflight, timeout=60).status_code == 405
    assert "access-control-allow-origin" not in (
        httpx.post(held.url, json=HUGGING_FACE, headers={"origin": ORIGIN}, timeout=60).headers
    )
    with Held(origins=(ORIGIN,), token="secret") as open_to_one:
        allowed = httpx.options(open_to_one.url, headers=preflight, timeout=60)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (
            200,
            ORIGIN,
        )
        refused = httpx.post(
            open_to_one.url, json=HUGGING_FACE, headers={"origin": ORIGIN}, timeout=60
        )
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        other = {**preflight, "origin": "https://evil.example"}
        assert httpx.options(open_to_one.url, headers=other, timeout=60).status_code == 400


@pytest.mark.parametrize("origin", ["app.example.com", "https://", "ftp://x", "https://x/path"])
def test_what_is_not_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidOptionError, match="not a web origin"):
        HttpApiOptions(client={}, origins=(origin,))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "localhost.evil.example"])
def test_on_loopback_only_names_of_this_machine_are_answered(held: Held, host: str) -> None:
    answered = httpx.post(held.url, json=HUGGING_FACE, headers={"host": host}, timeout=60)
    assert answered.status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080"])
def test_names_of_this_machine_are(held: Held, host: str) -> None:
    assert (
        httpx.post(held.url, json=HUGGING_FACE, headers={"host": host}, timeout=60).status_code
        == 200
    )


@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
def test_what_listens_everywhere_answers_whatever_it_is_called(listening: str) -> None:
    with Held(host=listening) as held:
        for host in ("10.244.1.3:8080", "bert-qa-http-api.default.svc:8080", "qa.example.com"):
            for path in ("/health/live", "/health/ready"):
                answered = httpx.get(held.url + path, headers={"host": host}, timeout=60)
                assert answered.status_code == 200


def test_ids_are_passed_on_returned_and_made_where_they_are_missing(held: Held) -> None:
    headers = {"x-request-id": "abc-1", "traceparent": TRACE, "tracestate": "a=b"}
    answered = httpx.post(held.url, json=HUGGING_FACE, headers=headers, timeout=60)
    assert answered.headers["x-request-id"] == "abc-1"
    _, _, passed = held.requests.sent[-1]
    assert passed == headers

    made = httpx.post(held.url, json=HUGGING_FACE, timeout=60)
    other = httpx.post(
        held.url, json=HUGGING_FACE, headers={"x-request-id": "a b", "traceparent": "x"}, timeout=60
    )
    ids = {made.headers["x-request-id"], other.headers["x-request-id"]}
    assert len(ids) == 2
    assert "a b" not in ids
    assert set(held.requests.sent[-1][2]) == {"x-request-id"}


def test_a_request_is_one_line_of_json_in_the_log(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bertqa_serve")
    headers = {"x-request-id": "abc-2", "traceparent": TRACE}
    httpx.post(f"{held.url}/v1/answers", json={"pairs": [ONE, ONE]}, headers=headers, timeout=60)
    while not (found := [each for each in caplog.records if each.message == "request"]):
        time.sleep(0.005)
    line = json.loads(JsonLines().format(found[-1]))
    assert line.pop("milliseconds") > 0
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "message": "request",
        "method": "POST",
        "endpoint": "/v1/answers",
        "status": 200,
        "request_id": "abc-2",
        "trace_id": TRACE.split("-")[1],
        "questions": 2,
        "model": "bert-qa",
        "version": 2,
    }


def test_an_exception_in_the_log_is_named_and_not_quoted() -> None:
    try:
        raise ValueError("Zanzibar")
    except ValueError:
        found = sys.exc_info()
    record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "it failed", (), found)
    line = JsonLines().format(record)
    assert json.loads(line)["error"] == "ValueError"
    assert "Zanzibar" not in line
