"""OVMS's administrative REST endpoints: health, the state of versions, reload and metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from bertqa import _defaults
from bertqa.errors import (
    BertQAError,
    ModelNotFoundError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport._address import REST_SCHEMES, Address, parsed_metadata_url
from bertqa.transport._certificates import sync_raise_explained
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._http import client_arguments, mapped_errors, proxy_of
from bertqa.transport._names import Names
from bertqa.transport._security import Security
from bertqa.transport.codecs import READY_PATH, RestCodec

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

AVAILABLE = "AVAILABLE"
STREAMS_METRIC = "ovms_streams"
_NO_ERROR = "OK"
# A server, or a proxy in front of it, that keeps `/v1/config/reload` to itself.
_RELOAD_CLOSED = (401, 403, 404, 405, 406)
# The refusals of a server, or of a proxy in front of it, that another attempt may not meet.
_BUSY = (408, 429, 502, 503, 504)
_MISREADINGS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class VersionState(NamedTuple):
    """OVMS's word for a version's state, and its error code if there is one."""

    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class VersionMetadata:
    """What a version of a model reports about itself.

    Attributes:
        versions: All versions of the model that answer requests, in ascending order.
        input_shapes: The shape of each input by its name, -1 for a dynamic dimension.
        model_info: `rt_info["model_info"]`, empty where the model carries none.
    """

    versions: list[int]
    input_shapes: dict[str, tuple[int, ...]]
    model_info: dict[str, str]


class AdminClient:
    """The REST endpoints by which OVMS, or the local engine, is operated.

    Each call is one request: nothing is tried again. It is safe to use from several threads, and
    as a context manager it closes its connections.

    Args:
        address: The server's REST address; `rest_address` finds it from a URL.
        security: TLS files, and headers to send with each request.
        timeout: Seconds that a server may take to answer.
        direct: Never use a proxy. The proxies of the environment are followed otherwise, though
            not to a loopback address.

    Raises:
        InvalidOptionError: A TLS file or a proxy cannot be used, or the security does not fit the
            address.
    """

    def __init__(
        self,
        address: Address,
        security: Security | None = None,
        *,
        timeout: float = _defaults.TIMEOUT_SECONDS,
        direct: bool = False,
    ) -> None:
        self.address = address
        self._security = security or Security()
        self._security.check_fits(address)
        self._name_headers = Names.of(address, self._security).headers()
        self._proxy = proxy_of(address, direct=direct)
        arguments = client_arguments(address, self._security, direct=direct)
        self._timeout = timeout
        self._client = httpx.Client(timeout=timeout, **arguments)
        self._anew = partial(AdminClient, address, security, timeout=timeout, direct=direct)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def anew(self) -> AdminClient:
        """Return a client with new connections, which may lead to another server of the address."""
        return self._anew()

    def close(self) -> None:
        """Close the connections; calling it again does nothing."""
        self._client.close()

    def is_ready(self) -> bool:
        """Return whether the server's first load is over, whether or not it succeeded."""
        return self._is_ok(READY_PATH)

    def is_model_ready(self, model: str, version: int | None = None) -> bool:
        """Return whether a version answers requests; without a number, whether any does.

        Args:
            model: The model's name.
            version: The number; None for any version.

        Returns:
            Whether it answers.
        """
        return self._is_ok(f"{_path(model, version)}/ready")

    def models(self) -> dict[str, dict[int, VersionState]]:
        """Return the state of all versions of all models that the server is configured with.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server did not answer in time.
            ServerOverloadedError: The server has no room for the request.
            AccessDeniedError: The server refuses the token or headers.
            ProtocolError: The server does not answer as OVMS does.
        """
        response = self._send("GET", "/v1/config")
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, *_BUSY):
            raise self._error_of(response)
        with self._reading("GET /v1/config"):
            response.raise_for_status()
            return {
                name: dict(map(_version_state, model["model_version_status"]))
                for name, model in response.json().items()
            }

    def states(self, model: str) -> dict[int, VersionState]:
        """Return the state of each version of a model.

        Args:
            model: The model's name.

        Returns:
            The states by version.

        Raises:
            ModelNotFoundError: The server is not configured with the model.
            BertQAError: As `models` does.
        """
        models = self.models()
        if model not in models:
            known = ", ".join(models) or "none"
            raise ModelNotFoundError(
                f"{self.address} does not serve the model {model!r} (it has: {known})."
            )
        return models[model]

    def reload(self) -> bool:
        """Have the server read its configuration and its model directories now.

        The server answers when everything is loaded and retired. `states` reports what failed.

        Returns:
            False where the server does not offer this and looks for changes by itself.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server did not answer in time.
        """
        return self._send("POST", "/v1/config/reload").status_code not in _RELOAD_CLOSED

    def metrics(self) -> list[Sample]:
        """Return all samples of the server's metrics; empty where the server shows none.

        The name of a counter may or may not end in `_total`. This needs the package
        prometheus_client, of the extras `serve` and `deploy`.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server did not answer in time.
            ProtocolError: What the server sent is not Prometheus's text format.
        """
        from prometheus_client.parser import text_string_to_metric_families

        response = self._send("GET", "/metrics")
        if response.status_code in _BUSY:
            raise self._error_of(response)
        if response.status_code != httpx.codes.OK:
            return []
        with self._reading("GET /metrics"):
            families = text_string_to_metric_families(response.text)
            return [sample for family in families for sample in family.samples]

    def streams(self, model: str) -> dict[int, int]:
        """Return how many OpenVINO streams each version of a model has, as far as is known.

        Args:
            model: The model's name.

        Returns:
            The number of streams by version.
        """
        samples = self.metrics()
        with self._reading("GET /metrics"):
            return {
                int(sample.labels["version"]): int(sample.value)
                for sample in samples
                if sample.name == STREAMS_METRIC and sample.labels.get("name") == model
            }

    def metadata(self, model: str, version: int | None = None) -> VersionMetadata:
        """Return what a version reports about itself; without a number, the default one.

        Args:
            model: The model's name.
            version: The number; None for the default version.

        Returns:
            What the version reports.

        Raises:
            ModelNotFoundError: The server does not serve the model.
            VersionNotFoundError: The server does not serve the version.
            BertQAError: As `models` does.
        """
        path = _path(model, version)
        response = self._checked("GET", path, model, version)
        with self._reading(f"GET {path}"):
            content = response.json()
            model_info = content.get("rt_info", {}).get("model_info", {})
            return VersionMetadata(
                sorted(map(int, content["versions"])),
                {each["name"]: tuple(each["shape"]) for each in content["inputs"]},
                {key: value for key, value in model_info.items() if isinstance(value, str)},
            )

    def run(self, model: str, version: int, inputs: Iterable[str], length: int) -> None:
        """Run a version once, on one row of ones of so many tokens in each of its inputs.

        Args:
            model: The model's name.
            version: The number.
            inputs: The names of the inputs, each sent as INT64 `[1, length]`.
            length: The number of tokens.

        Raises:
            BertQAError: As `metadata` does, and where the version cannot run.
        """
        ones = {"datatype": "INT64", "shape": [1, length], "data": [1] * length}
        body = {"inputs": [{"name": name, **ones} for name in inputs]}
        self._checked("POST", f"{_path(model, version)}/infer", model, version, body)

    def _checked(
        self, method: str, path: str, model: str, version: int | None, body: object = None
    ) -> httpx.Response:
        response = self._send(method, path, body)
        if response.status_code != httpx.codes.OK:
            raise self._error_of(response, model, version)
        return response

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            with mapped_errors(self.address, self._mapper()):
                response = self._client.request(
                    method,
                    f"{self.address}{path}",
                    json=body,
                    headers={**self._security.sync_headers(self._timeout), **self._name_headers},
                )
        except ServerUnreachableError as error:
            if self._proxy is None:
                end = time.monotonic() + self._timeout
                sync_raise_explained(error, self.address, self._security, end)
            raise
        if response.has_redirect_location:
            raise self._error_of(response)
        return response

    def _is_ok(self, path: str) -> bool:
        return self._send("GET", path).status_code == httpx.codes.OK

    def _error_of(
        self, response: httpx.Response, model: str = "", version: int | None = None
    ) -> BertQAError:
        mapper = self._mapper(model, version)
        detail = RestCodec(model).error_detail(response.content)
        location = response.headers.get("Location")
        return mapper.from_http(response.status_code, detail, location=location)

    def _mapper(self, model: str = "", version: int | None = None) -> ErrorMapper:
        return ErrorMapper(
            str(self.address), model, version, self._proxy, self._security.has_credentials
        )

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Turn whatever goes wrong with a strange response into a ProtocolError."""
        try:
            yield
        except (httpx.HTTPStatusError, *_MISREADINGS) as error:
            raise ProtocolError(
                f"{self.address} does not answer {what} as OpenVINO Model Server does: you may not "
                "be allowed to ask that, or another kind of server is there.",
                detail=str(error),
            ) from error


def rest_address(url: str, metadata_url: str | None = None) -> Address:
    """Return a server's REST address, by convention where its gRPC address is given.

    Args:
        url: The server's address, gRPC or REST.
        metadata_url: The REST address, where it does not follow the convention.

    Returns:
        The REST address.

    Raises:
        InvalidOptionError: A URL cannot be read, or `metadata_url` is not a REST address.
    """
    if metadata_url:
        return parsed_metadata_url(metadata_url)
    address = Address.parse(url)
    return address if address.scheme in REST_SCHEMES else address.rest


def _path(model: str, version: int | None = None) -> str:
    within = "" if version is None else f"/versions/{version}"
    return f"/v2/models/{quote(model, safe='')}{within}"


def _version_state(entry: Mapping[str, Any]) -> tuple[int, VersionState]:
    code = entry["status"]["error_code"]
    return int(entry["version"]), VersionState(entry["state"], None if code == _NO_ERROR else code)
