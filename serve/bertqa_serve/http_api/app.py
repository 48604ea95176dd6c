"""The endpoints, as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bertqa import Answer
from bertqa.errors import BertQAError
from bertqa_serve.http_api import page
from bertqa_serve.http_api.admission import Admission
from bertqa_serve.http_api.asking import (
    KEY_HEADER,
    MODEL_VERSION,
    VERSION_HEADER,
    Asking,
    Pair,
    Wishes,
    described,
    left,
    result,
)
from bertqa_serve.http_api.backend import Backend, ServerBackend
from bertqa_serve.http_api.bodies import Bodies
from bertqa_serve.http_api.direct import DirectRoute
from bertqa_serve.http_api.encoding import json_line
from bertqa_serve.http_api.gate import REQUEST_ID, STATE, Gate
from bertqa_serve.http_api.metrics import CONTENT_TYPE, Metrics
from bertqa_serve.http_api.models import Models
from bertqa_serve.http_api.options import HttpApiOptions
from bertqa_serve.http_api.problems import TIMEOUT_HEADER, UNAVAILABLE, Problem, problem_of
from bertqa_serve.http_api.responses import (
    NDJSON,
    Lines,
    failure_response,
    invalid_response,
    json_response,
    problem_response,
    refused_response,
)
from bertqa_serve.http_api.schema import (
    Answers,
    AnswersRequest,
    Failure,
    Health,
    HuggingFaceAnswer,
    HuggingFaceRequest,
    NamedModel,
    Parameters,
    Results,
    ServedModels,
    Versions,
)
from bertqa_serve.http_api.tracks import TracksBackend

_DESCRIPTION = (
    "Ask a question about a text in any language that can send HTTP. Errors have the form "
    '`{"error": "..."}`.'
)
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in (
        (400, "The request is not one of HTTP."),
        (401, "The bearer token is missing or wrong."),
        (404, "There is no such model or version."),
        (408, "The body did not arrive in time."),
        (413, "The body, or what it takes, is too large."),
        (415, "The body is not JSON."),
        (421, "On loopback: the request was to a name that is not of this machine."),
        (422, "A field is wrong; there is a sentence for each."),
        (431, "The head of the request is too large."),
        (502, "The server of the model does not answer as it should."),
        (503, "The model is loading, or too many requests wait; see `Retry-After`."),
        (504, "The answer was not there in time."),
    )
}

_BEARER = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="The token that the service was given."
)


async def _wishes(
    version: Annotated[
        str | None, Header(alias=VERSION_HEADER, description="The version that answers.")
    ] = None,
    key: Annotated[
        str | None,
        Header(alias=KEY_HEADER, description="A key that always goes to the same version."),
    ] = None,
    timeout: Annotated[
        str | None,
        Header(alias=TIMEOUT_HEADER, description="How long it may take: 0.5, 500ms or 30s."),
    ] = None,
) -> Wishes:
    """Describe the headers for OpenAPI; `DirectRoute` reads them."""
    return Wishes(version, key, timeout)


_Wished = Annotated[Wishes, Depends(_wishes)]


class _ModelName(StringConvertor):
    """A name in an address: those of the hub have a slash, and none has one at its end."""

    regex = "[^/]+(?:/[^/]+)*"


register_url_convertor("model_name", _ModelName())


def create_app(
    options: HttpApiOptions,
    backend: Backend | None = None,
    on_failure: Callable[[BertQAError], None] = lambda _: None,
) -> ASGIApp:
    """Return the application.

    Args:
        options: How it is run.
        backend: What answers; by default the server, or the servers, that the options name.
        on_failure: Called with the reason where it cannot start.
    """
    if backend is None:
        backend = ServerBackend(options) if options.tracks is None else TracksBackend(options)
    metrics = Metrics()
    api = _api(options, Models(options, backend), metrics, on_failure)
    gate: ASGIApp = Gate(
        api,
        api.state.endpoints,
        metrics,
        Admission(options.places),
        Bodies(options.body_bytes, options.body_seconds),
        options.token,
        is_local=options.is_local,
    )
    if options.origins:
        gate = CORSMiddleware(
            gate,
            allow_origins=options.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[MODEL_VERSION, REQUEST_ID, "retry-after"],
        )
    return gate


def _api(
    options: HttpApiOptions,
    models: Models,
    metrics: Metrics,
    on_failure: Callable[[BertQAError], None],
) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await models.open()
        except BertQAError as error:
            on_failure(error)
            raise
        try:
            yield
        finally:
            await models.close()

    api = FastAPI(
        title="bert-qa",
        description=_DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redoc_url=None,
        # It would send on to http:// behind what ends TLS, and curl shows nothing of it.
        redirect_slashes=False,
        exception_handlers={
            Problem: problem_response,
            RequestValidationError: invalid_response,
            HTTPException: refused_response,
            Exception: failure_response,
        },
    )

    # The gate checks the token; this describes it.
    secured = [] if options.token is None else [Security(_BEARER)]
    questions = APIRouter(route_class=DirectRoute, dependencies=secured)

    async def asking(request: Request, wishes: Wishes, model: str | None = None) -> Asking:
        facts = request.scope["state"][STATE]
        seconds = left(wishes.deadline(facts.began, options.timeout))
        if facts.place is not None and model not in (None, models.default.model):
            facts.place.take_for(model)
        backend = await models.of(model, seconds)
        facts.model = backend.model
        forget = None if backend is models.default else partial(models.forget, backend)
        return Asking(backend, metrics, facts, wishes, options.timeout, forget)

    async def in_form_of_hugging_face(asking: Asking, body: HuggingFaceRequest) -> Response:
        parameters = body.parameters or Parameters()
        given, top_k, unit = parameters.options(), parameters.top_k, parameters.offset_unit
        is_list = isinstance(body.inputs, list)
        inputs = body.inputs if isinstance(body.inputs, list) else [body.inputs]
        pairs = [(each.question, each.context) for each in inputs]
        found: list[tuple[Pair | str, list[Answer]]] = []
        if not is_list:
            found.append((pairs[0], await asking.one(pairs[0], top_k, given)))
        else:
            async for pair, outcome in asking.many(pairs, top_k, given):
                if isinstance(outcome, str):
                    raise Problem(422, f"inputs.{len(found)}: {outcome}")
                found.append((pair, outcome))
        shown = []
        for pair, answers in found:
            each = [
                {"answer": one.text, "score": one.score, "start": one.start, "end": one.end}
                for one in described(answers, pair[1], unit)
            ]
            shown.append(each if (top_k or 1) > 1 else each[0])
        versions = {answers[0].model_version for _, answers in found}
        return json_response(shown if is_list else shown[0], versions)

    hugging_face: dict[str, Any] = {
        "response_model": HuggingFaceAnswer
        | list[HuggingFaceAnswer]
        | list[list[HuggingFaceAnswer]],
        "responses": _PROBLEMS,
        "tags": ["Hugging Face"],
    }

    @questions.post("/", summary="Ask, in the form of Hugging Face's inference API", **hugging_face)
    async def ask(request: Request, body: HuggingFaceRequest, wishes: _Wished) -> Response:
        return await in_form_of_hugging_face(await asking(request, wishes), body)

    @questions.post(
        "/models/{model:model_name}",
        summary="The same for a model by its name",
        **hugging_face,
    )
    async def ask_model(
        request: Request, model: str, body: HuggingFaceRequest, wishes: _Wished
    ) -> Response:
        return await in_form_of_hugging_face(await asking(request, wishes, model), body)

    @questions.post(
        "/v1/answers",
        summary="Ask one question, or many",
        description=f"With `Accept: {NDJSON}` each result is a line, sent as soon as it is there.",
        response_model=Answers | Results,
        responses={
            **_PROBLEMS,
            200: {"content": {NDJSON: {"schema": {"type": "string"}}}},
        },
        tags=["bert-qa"],
    )
    async def answers(request: Request, body: AnswersRequest, wishes: _Wished) -> Response:
        one = await asking(request, wishes, body.model)
        given, unit = body.options(), body.offset_unit
        as_lines = NDJSON in request.headers.get("accept", "")
        if body.pairs is None:
            pair = (body.question or "", body.context or "")
            found = await one.one(pair, body.top_k, given)
            shown = Answers.model_construct(answers=described(found, pair[1], unit))
            return json_response(shown, {found[0].model_version}, NDJSON if as_lines else None)
        outcomes = one.many(map(body.pair, body.pairs), body.top_k, given)
        lines = (result(*each, unit) async for each in outcomes)
        if as_lines:
            return await Lines.begun(lines)
        results, versions = bytearray(), set()
        async for each in lines:
            results += b"," + json_line(each.model_dump()).rstrip()
            if isinstance(each, Answers):
                versions.add(each.answers[0].model_version)
        return json_response(b'{"results":[%b]}\n' % bytes(results[1:]), versions)

    api.include_router(questions)

    @api.get(
        "/v1/versions",
        summary="What is served",
        responses=_PROBLEMS,
        tags=["bert-qa"],
        dependencies=secured,
    )
    async def versions(
        model: Annotated[
            str | None, Query(description="The model; the default one if left out.")
        ] = None,
    ) -> Versions:
        found = await models.of(model, options.timeout)
        try:
            return await found.versions()
        except BertQAError as error:
            raise problem_of(error) from error

    @api.get(
        "/v1/models",
        summary="The models that a request may name",
        responses=_PROBLEMS,
        tags=["bert-qa"],
        dependencies=secured,
    )
    async def named() -> ServedModels:
        default = models.default.model
        return ServedModels(
            models=[
                NamedModel(name=name, is_default=name == default) for name in await models.names()
            ]
        )

    @api.get("/health/live", summary="Whether the process works", tags=["operation"])
    async def live() -> Health:
        return Health(status="ok")

    @api.get(
        "/health/ready",
        summary="Whether questions are answered",
        responses={UNAVAILABLE: _PROBLEMS[UNAVAILABLE]},
        tags=["operation"],
    )
    async def ready() -> Health:
        if not await models.default.is_ready():
            raise Problem(UNAVAILABLE, "The model is not ready.", retry_after=1)
        return Health(status="ok")

    @api.get("/metrics", summary="For Prometheus", response_class=Response, tags=["operation"])
    async def counts() -> Response:
        return Response(metrics.text(models.default.split()), media_type=CONTENT_TYPE)

    @api.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page.html(), headers=dict(page.headers()))

    # What FastAPI has of an included router is no route that has a path and methods.
    own = [each for each in api.routes if isinstance(each, Route)]
    api.state.endpoints = [*cast("list[Route]", questions.routes), *own]
    return api
