"""What a request that cannot be answered gets: a status, and a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from bertqa._checks import shown
from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    CertificateError,
    ClientStateError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    ModelNotFoundError,
    ModelNotReadyError,
    RequestTooLargeError,
    ServerOverloadedError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa_serve.http_api.encoding import json_line
from bertqa_serve.http_api.schema import AnswersRequest, HuggingFaceRequest, Parameters

NOT_FOUND, GATEWAY, UNAVAILABLE, TOO_LATE = 404, 502, 503, 504
RETRY_SECONDS = 1.0
TIMEOUT_HEADER = "x-request-timeout"

_KEYWORD = re.compile(r"\b([a-z][a-z_]*)=(?:\.\.\.)?(?![\w=])")
# The first that fits; what is left is the server's fault.
_STATUS: Sequence[tuple[type[BertQAError] | tuple[type[BertQAError], ...], int]] = (
    ((InvalidQuestionError, InvalidContextError, InvalidOptionError), 422),
    (VersionNotFoundError, NOT_FOUND),
    (RequestTooLargeError, 413),
    (DeadlineExceededError, TOO_LATE),
    ((CertificateError, AccessDeniedError), GATEWAY),
    (
        (
            ModelNotFoundError,
            ModelNotReadyError,
            ServerOverloadedError,
            ServerUnreachableError,
            ClientStateError,
        ),
        UNAVAILABLE,
    ),
    (BertQAError, GATEWAY),
)


class Problem(Exception):  # noqa: N818 - it is a response, as HTTPException is
    """A response in place of an answer.

    Args:
        status: The status of HTTP.
        message: A sentence for people.
        retry_after: After how many seconds to try again, where that may help.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(round(retry_after), 1))

    @property
    def body(self) -> dict[str, Any]:
        """The body, in the form of Hugging Face."""
        return {"error": str(self)}


def error_response(problem: Problem) -> Response:
    """Return what is sent for a problem.

    Args:
        problem: The problem.
    """
    return Response(
        json_line(problem.body), problem.status, problem.headers, media_type="application/json"
    )


def problem_of(error: BertQAError) -> Problem:
    """Return the response for an error of the client.

    Args:
        error: The error.
    """
    status = next(status for kinds, status in _STATUS if isinstance(error, kinds))
    retry_after = None
    if status == UNAVAILABLE:
        retry_after = getattr(error, "retry_after", None) or RETRY_SECONDS
    return Problem(status, in_words(error), retry_after=retry_after)


def missing(model: str) -> Problem:
    """Return the response to a request for a model that is not here.

    Args:
        model: The name that it has.
    """
    return Problem(
        NOT_FOUND,
        f"There is no model {shown(model)} here: GET /v1/models lists those that there are.",
    )


def in_words(error: Exception) -> str:
    """Return the message of an error with what a request calls it for Python's keywords.

    Args:
        error: An error of the client, which may name keywords such as `timeout=`.
    """
    return _KEYWORD.sub(
        lambda found: TIMEOUT_HEADER if found[1] == "timeout" else found[1], str(error)
    )


def sentences(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence for each field that is wrong.

    Args:
        errors: What pydantic found.
    """
    return " ".join(dict.fromkeys(map(_sentence, errors)))


def _where(name: str) -> str:
    """Return where a field is that the other form of a request has, or this one elsewhere."""
    if name in Parameters.model_fields:
        return f" beside inputs: it is parameters.{name}"
    if name in AnswersRequest.model_fields:
        return " in Hugging Face's form: POST /v1/answers takes it"
    if name in HuggingFaceRequest.model_fields:
        return " in this form: POST / takes it"
    return ""


def _sentence(error: Mapping[str, Any]) -> str:
    place = [str(each) for each in error["loc"] if each not in ("body", "one", "many")]
    name = ".".join(place)
    kind = error["type"]
    if kind == "json_invalid":
        reason = error.get("ctx", {}).get("error", "it cannot be read")
        where = f" at character {place[-1]}" if place else ""
        return f"The body is not valid JSON: {str(reason).rstrip('.')}{where}."
    if kind == "value_error":
        reason = in_words(error["ctx"]["error"])
        # The sentences of the client begin with the name of the option.
        prefix = ".".join(place[:-1])
        return f"{prefix}.{reason}" if prefix and reason.startswith(place[-1]) else reason
    if not name:
        return "The body has to be a JSON object."
    if kind == "missing":
        return f"{name} is missing."
    if kind == "extra_forbidden":
        return f"There is no field {name[:80]!r}{_where(name)}."
    if kind in ("dict_type", "model_type"):
        return f"{name} has to be an object."
    if kind == "list_type":
        return f"{name} has to be a list."
    if kind == "too_short":
        return f"{name} is empty."
    if kind in ("string_type", "string_unicode"):
        return f"{name} has to be a text in valid Unicode."
    return f"{name}: {error['msg'].rstrip('.')}."
