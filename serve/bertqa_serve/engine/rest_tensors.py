"""KServe's JSON and binary tensors over REST, read and written as OVMS does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rapidjson
from grpc import StatusCode

from bertqa_serve.engine.model import DATATYPES, TensorSpec
from bertqa_serve.engine.request_error import RequestError, invalid
from bertqa_serve.engine.service import NOT_AN_ARRAY, Answer, Tensor

HEADER_LENGTH = "Inference-Header-Content-Length"
_DEPTH_LIMIT = 100
_INT32_LIMIT = 2**31
_JSON_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_PARSE_ERROR = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
_TOO_SHORT = "Received buffer size is smaller than binary_data_size parameter indicates"
_UNKNOWN_DATATYPE = "Could not parse input content. Unsupported data precision detected"
_BAD_PARAMETERS = "Could not parse request parameters"
_BAD_OUTPUT = "Could not parse output content."


@dataclass(frozen=True, slots=True)
class InferBody:
    """An infer request's body; `binary` names the outputs to answer with as bytes."""

    id: str
    tensors: list[Tensor]
    binary: frozenset[str]


def read_infer_body(body: bytes, header_length: str | None) -> InferBody:
    """Read the body of an infer request.

    Args:
        body: JSON, which bytes of tensors may follow.
        header_length: The header that has the length of the JSON in bytes, None without it.

    Returns:
        The inputs, and the names of the outputs to answer with as bytes.

    Raises:
        RequestError: The body is not what KServe v2 allows.
    """
    json_size = _json_size(header_length, len(body))
    content = _parse(body[:json_size])
    if not isinstance(content, dict):
        raise invalid("Request body should be JSON object")
    parameters = _parameters(content)
    request_id = content.get("id", "")
    _require(isinstance(request_id, str))
    inputs = content.get("inputs", [])
    _require(isinstance(inputs, list))
    if not inputs:
        raise invalid("Invalid JSON structure, missing inputs")
    tensors = _Inputs(memoryview(body)[json_size:]).read(inputs)
    binary = _binary_outputs(content, bool(parameters.get("binary_data_output") is True))
    return InferBody(request_id, tensors, binary)


def write_infer_answer(name: str, body: InferBody, answer: Answer) -> tuple[bytes, int | None]:
    """Write the body of an answer.

    Args:
        name: The model's name.
        body: The request.
        answer: What the model answered.

    Returns:
        The body, and the length of its JSON in bytes if bytes of tensors follow it.
    """
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for spec, array in answer.outputs:
        output: dict[str, Any] = {
            "name": spec.name,
            "shape": array.shape,
            "datatype": spec.datatype,
        }
        if spec.name in body.binary:
            blobs.append(array.tobytes())
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    content: dict[str, Any] = {"model_name": name}
    if body.id:
        content["id"] = body.id
    content |= {"model_version": str(answer.version), "outputs": outputs}
    text = rapidjson.dumps(content).encode()
    return b"".join([text, *blobs]), len(text) if blobs else None


def spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """Return an input or output as metadata describes it."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _require(condition: bool, text: str = NOT_AN_ARRAY) -> None:
    if not condition:
        raise invalid(text)


def _json_size(header_length: str | None, size: int) -> int:
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdigit()):
        length = _INT32_LIMIT
    else:
        length = int(header_length)
    if length >= _INT32_LIMIT:
        text = f"{HEADER_LENGTH} header is invalid and couldn't be parsed"
        raise RequestError(StatusCode.INTERNAL, text)
    if length > size:
        text = f"{HEADER_LENGTH} header exceeds actual payload length"
        raise RequestError(StatusCode.INTERNAL, text)
    return length


def _parse(text: bytes) -> Any:
    if _too_deep(text):
        text_of_error = "JSON nesting depth exceeds the allowed limit"
        raise RequestError(StatusCode.INTERNAL, text_of_error)
    try:
        # OVMS takes any bytes inside a string; a name with such bytes is not found later.
        return rapidjson.loads(text.decode(errors="replace"), number_mode=rapidjson.NM_NONE)
    except rapidjson.JSONDecodeError as error:
        match = _PARSE_ERROR.fullmatch(str(error))
        message, offset = (match[2], match[1]) if match else (str(error), "0")
        raise RequestError(
            StatusCode.FAILED_PRECONDITION,
            f"The file is not valid json - Error: {message} Offset: {offset}",
        ) from error


def _too_deep(text: bytes) -> bool:
    """Measure before parsing: the parser recurses, and a stack has an end."""
    if text.count(b"[") + text.count(b"{") <= _DEPTH_LIMIT:
        return False
    depth = 0
    for match in _JSON_STRING_OR_BRACKET.finditer(text):
        if match[0] in b"[{":
            depth += 1
            if depth > _DEPTH_LIMIT:
                return True
        elif match[0] in b"]}":
            depth -= 1
    return False


def _parameters(content: dict[str, Any]) -> dict[str, Any]:
    parameters = content.get("parameters", {})
    _require(isinstance(parameters, dict), _BAD_PARAMETERS)
    for value in parameters.values():
        _require(isinstance(value, bool | int | str), _BAD_PARAMETERS)
    found: dict[str, Any] = parameters
    return found


def _binary_outputs(content: dict[str, Any], by_default: bool) -> frozenset[str]:
    """Of all entries of `outputs`, OVMS respects only the last one."""
    outputs = content.get("outputs", [])
    _require(isinstance(outputs, list))
    names: frozenset[str] = frozenset()
    for output in outputs:
        _require(isinstance(output, dict) and isinstance(output.get("name"), str), _BAD_OUTPUT)
        wanted = _parameters(output).get("binary_data", by_default)
        names = frozenset({output["name"]} if wanted is True else ())
    return names


class _Inputs:
    """Reads the inputs of a request in order: those without data take the bytes in turn."""

    def __init__(self, blob: memoryview) -> None:
        self._blob = blob

    def read(self, inputs: Sequence[Any]) -> list[Tensor]:
        tensors = [self._tensor(given) for given in inputs]
        raw = [tensor for tensor in tensors if tensor.raw is not None]
        if 0 < len(raw) < len(tensors):
            raise invalid(
                "Passing buffers both in ModelInferRequest::InferInputTensor::contents and in "
                "ModelInferRequest::raw_input_contents is not allowed - Size of "
                f"raw_input_contents: {len(raw)} is different than "
                f"number of inputs: {len(tensors)}"
            )
        return tensors

    def _tensor(self, given: Any) -> Tensor:
        _require(isinstance(given, dict))
        name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
        _require(isinstance(name, str) and isinstance(datatype, str) and isinstance(shape, list))
        _require(all(type(size) is int and 0 <= size < _INT32_LIMIT for size in shape))
        size = _parameters(given).get("binary_data_size")
        data = given.get("data", [])
        if datatype == "BYTES":
            raise RequestError(StatusCode.UNIMPLEMENTED, "Functionality not implemented")
        _require(datatype in DATATYPES, _UNKNOWN_DATATYPE)
        _require(isinstance(data, list))
        if data:
            if size is not None:
                text = "Request contains values both in binary data and in content value"
                raise RequestError(StatusCode.INTERNAL, text)
            values = list(_flat(data, _json_types(datatype)))
            return Tensor(name, datatype, tuple(shape), values=values)
        if size is None:
            size = math.prod(shape) * _item_size(datatype)
        elif type(size) is not int or size < 0:
            raise invalid("binary_data_size parameter is invalid and cannot be parsed")
        if size > len(self._blob):
            raise invalid(_TOO_SHORT)
        raw, self._blob = self._blob[:size], self._blob[size:]
        return Tensor(name, datatype, tuple(shape), raw=raw)


def _flat(data: list[Any], types: tuple[type, ...]) -> Iterator[Any]:
    """Return the single values of data that may be nested in any way, as in OVMS."""
    stack = [iter(data)]
    while stack:
        for item in stack[-1]:
            if type(item) is list:
                stack.append(iter(item))
                break
            _require(type(item) in types)
            yield item
        else:
            stack.pop()


def _json_types(datatype: str) -> tuple[type, ...]:
    if datatype == "BOOL":
        return (bool,)
    return (int, float) if datatype.startswith("FP") else (int,)


def _item_size(datatype: str) -> int:
    return np.dtype(DATATYPES[datatype][1]).itemsize
