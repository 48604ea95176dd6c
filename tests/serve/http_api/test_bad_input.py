"""What a wrong request gets: a status and a sentence; its text is in no log."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    DeadlineExceededError,
    ModelNotReadyError,
    ProtocolError,
    RequestTooLargeError,
    ServerOverloadedError,
)
from bertqa_serve.http_api.problems import Problem, error_response
from bertqa_serve.http_api.schema import AnswersRequest, Parameters
from tests.support.http_api import CONTEXT, HUGGING_FACE, ONE, Held

JSON = {"content-type": "application/json"}
SECRET = "Zanzibar"


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    with Held() as held:
        yield held


@pytest.fixture(scope="module")
def api(held: Held) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=held.url, timeout=30) as client:
        yield client


def error_of(answered: httpx.Response, status: int) -> str:
    assert answered.status_code == status, answered.text
    (error,) = answered.json().values()
    assert isinstance(error, str)
    assert error.endswith(".")
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["inputs is missing."]),
        ({"inputs": {}}, ["inputs.question is missing.", "inputs.context is missing."]),
        ({"inputs": {**ONE, "text": "x"}}, ["There is no field 'inputs.text'."]),
        ({"inputs": ONE, "model": "qa"}, ["field 'model' in Hugging Face's", "POST /v1/answers"]),
        ({"inputs": ONE, "top_k": 2}, ["There is no field 'top_k'", "it is parameters.top_k."]),
        ({"inputs": {**ONE, "question": 5}}, ["inputs.question has to be a text"]),
        ({"inputs": {**ONE, "question": "  "}}, ["The question is empty."]),
        ({"inputs": []}, ["inputs is empty."]),
        ({"inputs": "text"}, ["inputs has to be an object."]),
        (
            {"inputs": [ONE, {"question": "Who?", "context": ""}]},
            ["inputs.1: The context is empty"],
        ),
        (
            {"inputs": ONE, "parameters": {"top_k": 0, "doc_stride": -1, "align_to_words": "yes"}},
            ["parameters.top_k is 0", "parameters.doc_stride is -1", "parameters.align_to_words"],
        ),
        ({"inputs": ONE, "parameters": {"max_seq_len": 3}}, ["leaves no room for the context"]),
        ({"inputs": ONE, "parameters": {"offset_unit": "bytes"}}, ["parameters.offset_unit"]),
        ({"inputs": ONE, "parameters": 5}, ["parameters has to be an object."]),
        ([], ["The body has to be a JSON object."]),
    ],
)
def test_each_wrong_field_has_a_sentence(api: httpx.Client, body: Any, words: list[str]) -> None:
    error = error_of(api.post("/", json=body), 422)
    for each in words:
        assert each in error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "question and context are missing."),
        ({"question": "Who?"}, "context is missing."),
        ({**ONE, "pairs": []}, "not both."),
        ({**ONE, "version": "latest"}, "version is 'latest'"),
        ({**ONE, "decoder": {"name": "greedy"}}, "decoder.name"),
        ({**ONE, "decoder": {"name": "squad", "n_best": 0}}, "n_best is 0"),
        (
            {**ONE, "decoder": {"name": "squad"}, "align_to_words": False},
            "align_to_words cannot be passed beside decoder.",
        ),
        ({**ONE, "decoder": "squad"}, "decoder has to be an object."),
        ({"pairs": {}}, "pairs has to be a list."),
        ({**ONE, "timeout": 3}, "There is no field 'timeout'."),
        ({"inputs": ONE}, "There is no field 'inputs' in this form: POST / takes it."),
    ],
)
def test_each_wrong_field_of_the_own_form_has_one_too(
    api: httpx.Client, body: Any, words: str
) -> None:
    error = error_of(api.post("/v1/answers", json=body), 422)
    assert words in error
    assert "=" not in error


def test_a_field_that_is_null_is_left_out(api: httpx.Client) -> None:
    names = set(AnswersRequest.model_fields) - {"question", "context", "offset_unit"}
    nulls = dict.fromkeys(names)
    assert api.post("/v1/answers", json={**ONE, **nulls}).json() == (
        api.post("/v1/answers", json=ONE).json()
    )
    decoder = {"name": "squad"}
    answered = api.post("/v1/answers", json={**ONE, **nulls, "decoder": decoder})
    assert answered.json() == api.post("/v1/answers", json={**ONE, "decoder": decoder}).json()
    parameters = dict.fromkeys(set(Parameters.model_fields) - {"offset_unit"})
    answered = api.post("/", json={**HUGGING_FACE, "parameters": parameters, "options": None})
    assert answered.json() == api.post("/", json=HUGGING_FACE).json()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"inputs": "caf\xe9"}'.encode("latin-1"), "is not JSON in UTF-8."),
        (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "is nested too deep."),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "has a number of too many digits."),
    ],
)
def test_what_python_cannot_read_is_named(api: httpx.Client, content: bytes, words: str) -> None:
    assert words in error_of(api.post("/", content=content, headers=JSON), 422)


def test_too_many_wrong_fields_are_counted(api: httpx.Client) -> None:
    body = {**HUGGING_FACE, **{f"field {number}": 1 for number in range(5000)}}
    error = error_of(api.post("/", json=body), 422)
    assert error == "The body has 5,000 wrong fields: too many to name."


def test_a_list_is_refused_for_its_first_bad_item(api: httpx.Client) -> None:
    error = error_of(api.post("/", json={"inputs": [ONE, *[{}] * 5000]}), 422)
    assert error == "inputs.1.question is missing. inputs.1.context is missing."


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("pairs", [[{}] * 60_000, [ONE, *[{}] * 60_000, ONE]])
async def test_bad_pairs_without_end_let_other_requests_pass(
    held: Held, pairs: list[Any], accept: str
) -> None:
    headers = {"accept": accept}
    async with httpx.AsyncClient(base_url=held.url, timeout=60) as client:
        asking = asyncio.create_task(
            client.post("/v1/answers", json={"pairs": pairs}, headers=headers)
        )
        while "bertqa_http_in_flight 1.0" not in (await client.get("/metrics")).text:
            assert not asking.done(), asking.result().text[:200]
        answered = (await asking).text
    lines = answered.splitlines()
    results = json.loads(answered)["results"] if accept == "application/json" else lines
    assert len(results) == len(pairs)


def test_a_compressed_body_is_415(api: httpx.Client) -> None:
    content = gzip.compress(json.dumps(HUGGING_FACE).encode())
    headers = {**JSON, "content-encoding": "gzip"}
    assert "Content-Encoding" in error_of(api.post("/", content=content, headers=headers), 415)


@pytest.mark.parametrize("path", ["/v1/answers/", "/models/bert-qa/", "/health/live/"])
def test_an_address_with_a_slash_too_many_is_404(api: httpx.Client, path: str) -> None:
    error_of(api.post(path, json=ONE), 404)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'"text"', b"null", b'{"inputs": NaN}'],
)
def test_what_is_not_json_of_the_right_kind_is_422(api: httpx.Client, content: bytes) -> None:
    error_of(api.post("/", content=content, headers=JSON), 422)


def test_a_lone_surrogate_is_refused_and_can_be_shown(api: httpx.Client) -> None:
    body = rb'{"inputs": {"question": "Who\ud800?", "context": "Anna."}}'
    error_of(api.post("/", content=body, headers=JSON), 422)
    body = rb'{"pairs": [{"question": "Who\ud800?", "context": "Anna.", "\ud800": 1}]}'
    (result,) = api.post("/v1/answers", content=body, headers=JSON).json()["results"]
    assert result["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/answers", "POST"),
        ("GET", "/models/bert-qa", "POST"),
        ("DELETE", "/v1/versions", "GET"),
        ("PUT", "/", "GET and HEAD and POST"),
    ],
)
def test_another_method_is_405_and_the_right_ones_are_named(
    api: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answered = api.request(method, path)
    assert error_of(answered, 405) == f"{method} is not allowed here, but {allowed}."
    assert answered.headers["allow"] == allowed.replace(" and ", ", ")


def test_where_json_is_not_valid_is_said(api: httpx.Client) -> None:
    for path in ("/", "/v1/answers"):
        error = error_of(api.post(path, content=b'{"question": ', headers=JSON), 422)
        assert error == "The body is not valid JSON: Expecting value at character 13."


def test_a_greater_timeout_is_named_as_requests_name_it(held: Held, api: httpx.Client) -> None:
    held.requests.failing += [lambda: DeadlineExceededError("Pass a greater timeout=.")]
    answered = api.post("/", json=HUGGING_FACE)
    held.requests.failing.clear()
    assert error_of(answered, 504) == "Pass a greater x-request-timeout."


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415(api: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answered = api.post("/", content=json.dumps(HUGGING_FACE), headers=headers)
    assert "Content-Type: application/json" in error_of(answered, 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/ld+json"])
def test_a_content_type_that_is_json_is_taken(api: httpx.Client, kind: str) -> None:
    content = json.dumps(HUGGING_FACE)
    assert api.post("/", content=content, headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("name", ["x-bert-qa-version", "x-request-timeout"])
@pytest.mark.parametrize("value", ["", "-1", "0", "many", "1e3", "9" * 40])
def test_a_header_that_cannot_be_read_is_422(api: httpx.Client, name: str, value: str) -> None:
    assert name in error_of(api.post("/", json=HUGGING_FACE, headers={name: value}), 422)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ServerOverloadedError("It is full.", retry_after=7), 503, "7"),
        (ModelNotReadyError("It is loading."), 503, "1"),
        (DeadlineExceededError("It took too long."), 504, None),
        (RequestTooLargeError("It is too large."), 413, None),
        (AccessDeniedError("It may not be asked."), 502, None),
        (ProtocolError("It answers nonsense."), 502, None),
    ],
)
def test_what_the_server_fails_with_has_a_status(
    held: Held, api: httpx.Client, error: BertQAError, status: int, retry_after: str | None
) -> None:
    held.requests.failing += [lambda: error] * 50
    answered = api.post("/", json=HUGGING_FACE, headers={"x-request-timeout": "300ms"})
    held.requests.failing.clear()
    error_of(answered, status)
    if status == 503:
        assert answered.headers["retry-after"] == retry_after


def logged(caplog: pytest.LogCaptureFixture, least: int) -> list[logging.LogRecord]:
    """Return what the service logged; it does so after a response is sent."""
    deadline = time.monotonic() + 30
    while True:
        # uvicorn logs requests only where its logger has a handler, as pytest adds one.
        own = [each for each in caplog.records if each.name.startswith(("bertqa", "uvicorn.error"))]
        if len(own) >= least:
            return own
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_that_was_not_expected_is_500_without_its_message(
    held: Held, api: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bertqa_serve")

    def fail() -> BertQAError:
        raise RuntimeError(SECRET)

    held.requests.failing.append(fail)
    answered = api.post("/", json=HUGGING_FACE, headers={"x-request-id": "abc-1"})
    assert "abc-1" in error_of(answered, 500)
    assert SECRET not in answered.text
    messages = "\n".join(each.getMessage() for each in logged(caplog, 2))
    assert "request abc-1 failed: RuntimeError at" in messages
    assert SECRET not in messages
    assert not any(each.exc_info for each in caplog.records if each.name.startswith("bertqa"))


def test_no_text_is_logged(api: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for body in (
        {"inputs": {"question": f"Where is {SECRET}?", "context": f"{SECRET} is an island."}},
        {"inputs": {"question": SECRET, "context": ""}},
        {"inputs": SECRET},
        {SECRET: SECRET},
    ):
        api.post("/", json=body)
    api.post(f"/{SECRET}?{SECRET}", json={}, headers={"x-bert-qa-version": SECRET})
    own = logged(caplog, 5)
    for record in own:
        assert SECRET not in record.getMessage() + str(vars(record).get("fields"))
    assert CONTEXT not in caplog.text


def test_a_lone_surrogate_in_a_message_is_sent_as_an_escape() -> None:
    assert error_response(Problem(422, "\ud800é.")).body == b'{"error":"\\ud800\xc3\xa9."}\n'
