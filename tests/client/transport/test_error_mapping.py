"""The texts are those that OVMS 2026.2.1 and main of 2026-08 really send."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bertqa import errors
from bertqa.transport._error_mapping import ErrorMapper, seconds_to_wait


@pytest.mark.parametrize(
    ("code", "detail", "version", "expected"),
    [
        ("NOT_FOUND", "Model with requested name is not found", None, errors.ModelNotFoundError),
        ("NOT_FOUND", "Pipeline with requested name is not found", 1, errors.ModelNotFoundError),
        (
            "NOT_FOUND",
            "Mediapipe graph definition with requested name is not found",
            None,
            errors.ModelNotFoundError,
        ),
        ("NOT_FOUND", "Model with requested version is not found", 9, errors.VersionNotFoundError),
        ("NOT_FOUND", "Model with requested version is retired", 1, errors.VersionNotFoundError),
        (
            "NOT_FOUND",
            "Model with requested version is not found",
            None,
            errors.ModelNotReadyError,
        ),
        (
            "NOT_FOUND",
            "Model with requested version is not loaded yet",
            1,
            errors.ModelNotReadyError,
        ),
        (
            "UNAVAILABLE",
            "Model with requested version is not loaded yet",
            1,
            errors.ModelNotReadyError,
        ),
        ("UNAVAILABLE", "Cancelling all calls", None, errors.ServerUnreachableError),
        ("UNAVAILABLE", "failed to connect to all addresses", 1, errors.ServerUnreachableError),
        (
            "UNAVAILABLE",
            "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))",
            None,
            errors.ServerOverloadedError,
        ),
        ("RESOURCE_EXHAUSTED", "", None, errors.ServerOverloadedError),
        (
            "UNAVAILABLE",
            "Received http2 header with status: 429",
            None,
            errors.ServerOverloadedError,
        ),
        ("UNKNOWN", "Received http2 header with status: 413", None, errors.RequestTooLargeError),
        (
            "RESOURCE_EXHAUSTED",
            "Server Threadpool Exhausted",
            None,
            errors.ServerOverloadedError,
        ),
        (
            "RESOURCE_EXHAUSTED",
            "SERVER: Received message larger than max (1048607 vs. 1048576)",
            None,
            errors.RequestTooLargeError,
        ),
        (
            "RESOURCE_EXHAUSTED",
            "received metadata size exceeds hard limit (value length 20000 bytes)",
            None,
            errors.RequestTooLargeError,
        ),
        (
            "INVALID_ARGUMENT",
            "Failed to create channel to 'models:9000':JSON parsing failed",
            None,
            errors.InvalidOptionError,
        ),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", None, errors.DeadlineExceededError),
        ("UNAUTHENTICATED", "", None, errors.AccessDeniedError),
        ("PERMISSION_DENIED", "RBAC: access denied", None, errors.AccessDeniedError),
        ("INTERNAL", "Internal inference error", None, errors.ProtocolError),
        ("UNKNOWN", "Unknown error", None, errors.ProtocolError),
        ("INVALID_ARGUMENT", "Invalid number of inputs", None, errors.ProtocolError),
        ("UNIMPLEMENTED", "", None, errors.ProtocolError),
        ("NOT_FOUND", "no such page", None, errors.ProtocolError),
    ],
)
def test_what_a_server_replies_becomes_one_error_with_its_text_kept(
    code: str, detail: str, version: int | None, expected: type[errors.BertQAError]
) -> None:
    error = ErrorMapper("grpc://models:9000", "bert-qa", version).from_grpc(code, detail)
    assert type(error) is expected
    assert error.detail == detail
    assert "grpc://models:9000" in str(error)


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [
        ("grpc", r"KServe v2 protocol\.$"),
        ("tfs", r"TensorFlow Serving's API: .* begins with grpc:// or grpcs://\.$"),
        ("tfss", r"TensorFlow Serving's API: .* begins with grpc:// or grpcs://\.$"),
    ],
)
def test_the_protocol_that_a_server_does_not_speak_is_the_one_that_was_spoken(
    scheme: str, protocol: str
) -> None:
    mapper = ErrorMapper(f"{scheme}://models:9000", "bert-qa", None)
    error = mapper.from_grpc("UNIMPLEMENTED", "")
    assert re.search(f"does not speak .*{protocol}", str(error))


def test_a_message_names_the_model_and_the_version() -> None:
    mapper = ErrorMapper("grpc://models:9000", "bert-qa", 7)
    missing = mapper.from_grpc("NOT_FOUND", "Model with requested version is not found")
    assert "version 7 of the model 'bert-qa'" in str(missing)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (503, "RESOURCE_EXHAUSTED"),
        (418, "HTTP status 418"),
    ],
)
def test_http_statuses_stand_for_grpc_codes(status: int, code: str) -> None:
    mapper = ErrorMapper("http://models:8000", "bert-qa", None)
    over_http, over_grpc = mapper.from_http(status, "its text"), mapper.from_grpc(code, "its text")
    assert type(over_http) is type(over_grpc)
    assert str(over_http) == str(over_grpc)
    assert over_http.detail == "its text"


PAGE = """<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>b {}</style></head>
<body><h1>502 Bad Gateway</h1><hr>nginx&nbsp;1.27</body></html>"""


@pytest.mark.parametrize(
    ("status", "body", "words", "expected"),
    [
        (502, PAGE, "502 Bad Gateway 502 Bad Gateway nginx 1.27", errors.ServerUnreachableError),
        (502, "its text", "its text", errors.ServerUnreachableError),
        (502, "", "status 502", errors.ServerUnreachableError),
        (503, "no healthy upstream", "no healthy upstream", errors.ServerUnreachableError),
        (503, 'no endpoints available for service "qa"', "qa", errors.ServerUnreachableError),
        (503, "failure to get a peer from the balancer", "peer", errors.ServerUnreachableError),
        (521, "<html><h1>Web server is down</h1>", "is down", errors.ServerUnreachableError),
        (524, "", "in the time that", errors.DeadlineExceededError),
        (503, "<html>Down \x1b[31m</html>", r"\(Down \[31m\)", errors.ServerUnreachableError),
        (503, "no available server\n", "no available server", errors.ServerUnreachableError),
        (504, "upstream request timeout", "status 504", errors.DeadlineExceededError),
    ],
)
def test_the_answer_of_a_gateway_is_not_that_of_a_server_that_is_away(
    status: int, body: str, words: str, expected: type[errors.BertQAError]
) -> None:
    error = ErrorMapper("http://models:8000", "bert-qa", None).from_http(status, body)
    assert type(error) is expected
    assert re.search(f"A gateway at http://models:8000 answered with status {status}", str(error))
    assert re.search(words, str(error))
    assert "Cannot connect" not in str(error)
    assert "<" not in str(error)
    assert error.detail == body


@pytest.mark.parametrize(
    ("code", "detail", "expected"),
    [
        ("UNAVAILABLE", "no healthy upstream", errors.ServerUnreachableError),
        (
            "UNAVAILABLE",
            "upstream connect error, reset reason: TLS_error: CERTIFICATE_VERIFY_FAILED",
            errors.ServerUnreachableError,
        ),
        (
            "UNAVAILABLE",
            "Received http2 header with status: 502",
            errors.ServerUnreachableError,
        ),
        (
            "UNAVAILABLE",
            "Received http2 header with status: 503",
            errors.ServerUnreachableError,
        ),
        ("UNAVAILABLE", "upstream request timeout", errors.DeadlineExceededError),
        ("UNKNOWN", "Received http2 header with status: 302", errors.ProtocolError),
    ],
)
def test_the_answer_of_a_gateway_is_known_over_grpc_too(
    code: str, detail: str, expected: type[errors.BertQAError]
) -> None:
    error = ErrorMapper("grpc://models:9000", "bert-qa", None).from_grpc(code, detail)
    assert type(error) is expected
    assert re.search("A gateway at grpc://models:9000 answered|redirects", str(error))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("detail", ["token expired", ""])
@pytest.mark.parametrize("sent", [False, True])
def test_credentials_that_were_sent_are_not_asked_for(status: int, detail: str, sent: bool) -> None:
    mapper = ErrorMapper("http://models:8000", "bert-qa", None, has_credentials=sent)
    code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}[status]
    for error in (mapper.from_http(status, detail), mapper.from_grpc(code, detail)):
        assert type(error) is errors.AccessDeniedError
        assert ("pass another token=" in str(error)) == sent
        assert ("requires authentication" in str(error)) == (status == 401 and not sent)
        assert ("(token expired)" in str(error)) == bool(detail)


def test_a_gateway_that_asks_to_wait_is_waited_for() -> None:
    error = ErrorMapper("http://models:8000", "bert-qa", None).from_http(503, PAGE, "7")
    assert isinstance(error, errors.ServerOverloadedError)
    assert error.retry_after == 7.0
    assert "A gateway" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_names_where_it_leads(status: int) -> None:
    mapper = ErrorMapper("http://models:8000", "bert-qa", None)
    error = mapper.from_http(status, PAGE, location="https://login.example/\x1b[31m?a=1")
    assert type(error) is errors.ProtocolError
    assert "redirects to https://login.example/[31m?a=1" in str(error)
    assert "without naming" in str(mapper.from_http(status, ""))


def test_an_address_without_a_server_is_named() -> None:
    error = ErrorMapper("grpc://models:9000", "bert-qa", None).unreachable("refused")
    assert str(error).startswith("Cannot connect to grpc://models:9000")
    assert error.detail == "refused"


def test_what_is_too_large_names_the_limit_and_what_to_do() -> None:
    mapper = ErrorMapper("http://models:8000", "bert-qa", None)
    named = mapper.from_http(413, "Request body is larger than 64 bytes")
    silent = mapper.from_http(413, "")
    assert type(named) is type(silent) is errors.RequestTooLargeError
    assert "larger than 64 bytes" in str(named)
    assert "max_seq_len" in str(silent)


def test_a_server_that_asks_to_wait_is_heard() -> None:
    error = ErrorMapper("http://models:8000", "bert-qa", None).from_http(503, "full", "7")
    assert isinstance(error, errors.ServerOverloadedError)
    assert error.retry_after == 7.0
    soon = seconds_to_wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert soon is not None
    assert 50 < soon <= 60
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    far, ahead = "1 Jan 99999999999999999999 00:00:00 GMT", "1 Jan 2020 00:00:00 +9999999999999999"
    for strange in ("", "soon", "-3", "1e3", "\u0663", far, ahead):
        assert seconds_to_wait(strange) is None


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("http://localhost:8000", "answer there?"),
        ("http://localhost:8000/v2", "Leave out /v2, unless a gateway in front of the server"),
    ],
)
def test_a_path_that_no_api_has_is_not_called_a_fault_of_the_model(
    address: str, advice: str
) -> None:
    error = ErrorMapper(address, "bert-qa", None).from_http(400, "Invalid request URL")
    assert isinstance(error, errors.ProtocolError)
    assert "does not know the requested path" in str(error)
    assert str(error).count(advice) == 1
    assert str(error).endswith(("there?", "needs it."))


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ("Invalid number of inputs - Expected: 3; Actual: 2", "may be a model with other or with"),
        ("Invalid input shape - Expected: (1,8)", "may be a model with other or with fixed inputs"),
        ("", r"refuses the request and does not say why: its log may\.$"),
        ("<html><h1>400 Bad Request</h1></html>", r"refuses the request \(400 Bad Request\)\.$"),
    ],
)
def test_a_model_is_suspected_where_the_server_speaks_of_inputs_alone(
    detail: str, reason: str
) -> None:
    mapper = ErrorMapper("http://models:8000", "bert-qa", None)
    for error in (mapper.from_http(400, detail), mapper.from_grpc("INVALID_ARGUMENT", detail)):
        assert type(error) is errors.ProtocolError
        assert re.search(reason, str(error))


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (431, ""),
        (400, "400 Request Header Or Cookie Too Large"),
        (494, "Request Header Fields Too Large"),
        (None, "received initial metadata size exceeds limit"),
        (None, "received metadata size exceeds hard limit (value length 17000 vs. 16384)"),
        (None, "Received http2 header with status: 431"),
    ],
)
def test_headers_that_are_too_large_are_not_taken_for_windows(
    status: int | None, detail: str
) -> None:
    mapper = ErrorMapper("grpc://models:9000", "bert-qa", None)
    error = (
        mapper.from_grpc("RESOURCE_EXHAUSTED", detail)
        if status is None
        else mapper.from_http(status, detail)
    )
    assert type(error) is errors.RequestTooLargeError
    assert "headers=" in str(error)
    assert "max_seq_len" not in str(error)
