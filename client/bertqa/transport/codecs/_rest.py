"""KServe v2 over REST: JSON, with the binary tensor extension."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np

from bertqa.artifact import END_LOGITS, START_LOGITS
from bertqa.errors import BertQAError, ProtocolError
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport.codecs._tensors import check_output, output_array, version_number

JSON_LENGTH = "Inference-Header-Content-Length"
LIVE_PATH = "/v2/health/live"
READY_PATH = "/v2/health/ready"

# What reading JSON of another form than expected may raise.
_MISREADINGS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class RestRequest:
    """An HTTP request, without its host.

    Attributes:
        method: The HTTP method.
        path: The path below the server's address, quoted.
        headers: The headers that belong to the body.
        body: The body, empty where there is none.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class RestCodec:
    """Encodes requests and decodes responses of KServe v2 over REST."""

    def __init__(self, model: str) -> None:
        self._model = quote(model, safe="")

    def infer_request(self, inputs: Inputs, version: int | None) -> RestRequest:
        """Encode a request to run the model, with binary tensors.

        Args:
            inputs: INT64 arrays `[batch, tokens]` by input name.
            version: The version to run; None is the server's default.

        Returns:
            The request.
        """
        contents = [np.ascontiguousarray(array, dtype="<i8").tobytes() for array in inputs.values()]
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": list(array.shape),
                        "datatype": "INT64",
                        "parameters": {"binary_data_size": len(content)},
                    }
                    for (name, array), content in zip(inputs.items(), contents, strict=True)
                ],
                "outputs": [
                    {"name": name, "parameters": {"binary_data": True}}
                    for name in (START_LOGITS, END_LOGITS)
                ],
            }
        ).encode()
        return RestRequest(
            "POST",
            f"{self._path(version)}/infer",
            {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))},
            b"".join([head, *contents]),
        )

    def infer_result(self, body: bytes, headers: Mapping[str, str]) -> InferResult:
        """Decode the response to `infer_request`.

        Each output may be binary or JSON: OVMS sends only the last one requested as binary.

        Args:
            body: The response's body.
            headers: The response's headers, case-insensitive.

        Returns:
            The outputs, FP32 `[batch, tokens]`, and the version that answered.

        Raises:
            ProtocolError: The body is not what KServe v2 allows.
        """
        # Numbers that are too large for FP32 are infinite, and refused as such.
        with _decoding(), np.errstate(over="ignore"):
            length = int(headers.get(JSON_LENGTH, len(body)))
            if not 0 <= length <= len(body):
                raise ValueError(f"{JSON_LENGTH} is {length}, but the body has {len(body)} bytes")
            response = json.loads(body[:length])
            rest = memoryview(body)[length:]
            outputs = {}
            for output in response["outputs"]:
                name, datatype, shape = output["name"], output["datatype"], output["shape"]
                size = output.get("parameters", {}).get("binary_data_size")
                if not isinstance(name, str):
                    raise TypeError("the name of an output is not a string")
                if size is None:
                    check_output(name, datatype, shape)
                    array = np.array(output["data"], dtype=np.float32).reshape(shape)
                else:
                    if size < 0:
                        raise ValueError(f"an output has {size} bytes")
                    array = output_array(name, datatype, shape, rest[:size])
                    rest = rest[size:]
                outputs[name] = array
            return InferResult(outputs, version_number(response["model_version"]))

    def metadata_request(self, version: int | None) -> RestRequest:
        """Encode a request to describe the model.

        Args:
            version: The version to describe; None is the server's default.

        Returns:
            The request.
        """
        return RestRequest("GET", self._path(version))

    def model_metadata(self, body: bytes) -> ModelMetadata:
        """Decode the response to `metadata_request`.

        Args:
            body: The response's body.

        Returns:
            The model's description, with its `rt_info` where the server sends that.

        Raises:
            ProtocolError: The body is not what KServe v2 allows.
        """
        with _decoding():
            response = json.loads(body)
            model_info = response.get("rt_info", {}).get("model_info", {})
            return ModelMetadata(
                name=str(response["name"]),
                versions=tuple(version_number(text) for text in response["versions"]),
                inputs=_types(response["inputs"]),
                outputs=_types(response["outputs"]),
                rt_info={key: value for key, value in model_info.items() if isinstance(value, str)},
            )

    def error_detail(self, body: bytes) -> str:
        """Return what the body of an error says: the text below `error`, or all of it.

        Args:
            body: The body of the response.

        Returns:
            The text.
        """
        text = body.decode(errors="replace")
        with contextlib.suppress(*_MISREADINGS):
            return str(json.loads(text)["error"])
        return text

    def _path(self, version: int | None) -> str:
        versions = "" if version is None else f"/versions/{version}"
        return f"/v2/models/{self._model}{versions}"


def _types(tensors: list[dict[str, str]]) -> dict[str, str]:
    """Return the datatype of each tensor by its name."""
    types = {each["name"]: each["datatype"] for each in tensors}
    if not all(isinstance(each, str) for pair in types.items() for each in pair):
        raise TypeError("a name or a datatype is not a string")
    return types


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """Raise ProtocolError for whatever goes wrong with a body of another form."""
    try:
        yield
    except BertQAError:
        raise
    except _MISREADINGS as error:
        raise ProtocolError(
            "The server sent what KServe v2 does not allow "
            f"({type(error).__name__}: {error}): does another kind of server answer there?"
        ) from error
