"""Endpoints that FastAPI describes, called without its search for their arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.responses import Response

from bertqa_serve.http_api.asking import Wishes
from bertqa_serve.http_api.problems import Problem

# More are not named: to do so takes long, and other requests wait meanwhile.
_MOST_ERRORS = 1000

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route of an endpoint that takes `request`, `body`, `wishes` and the parameters of its path.

    FastAPI resolves the arguments of any endpoint anew for every request. For such an endpoint that
    took a third of the HTTP API's own processor time.
    """

    def get_route_handler(self) -> Handler:
        """Return what answers a request; see `APIRoute`."""
        assert self.body_field is not None
        validate = self.body_field.field_info.annotation.model_validate  # type: ignore[union-attr]
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            content = await request.body()
            try:
                body = validate(json.loads(content))
            except ValidationError as error:
                if error.error_count() > _MOST_ERRORS:
                    raise Problem(
                        422, f"The body has {error.error_count():,} wrong fields: too many to name."
                    ) from None
                raise RequestValidationError(_placed(error), body=content) from error
            except json.JSONDecodeError as error:
                raise RequestValidationError([_invalid(error)], body=content) from error
            except UnicodeDecodeError as error:
                raise Problem(422, "The body is not JSON in UTF-8.") from error
            except RecursionError as error:
                raise Problem(422, "The JSON of the body is nested too deep.") from error
            except ValueError as error:  # Python reads no number of more than 4,300 digits.
                raise Problem(422, "The body has a number of too many digits.") from error
            wishes = Wishes.of(request.headers)
            response: Response = await endpoint(
                request=request, body=body, wishes=wishes, **request.path_params
            )
            return response

        return handle


def _placed(error: ValidationError) -> list[dict[str, Any]]:
    return [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]


def _invalid(error: json.JSONDecodeError) -> dict[str, Any]:
    return {"type": "json_invalid", "loc": ("body", error.pos), "ctx": {"error": error.msg}}
