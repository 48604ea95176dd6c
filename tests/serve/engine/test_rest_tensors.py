"""Reading bodies of infer requests: whatever comes, it is read or refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bertqa_serve.engine.request_error import RequestError
from bertqa_serve.engine.rest_tensors import read_infer_body

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["input_ids", ""]) | JSON_VALUES,
        "shape": st.lists(st.integers(-2, 2**40), max_size=3) | JSON_VALUES,
        "datatype": st.sampled_from(["INT64", "FP32", "BOOL", "BYTES", "INT65"]) | JSON_VALUES,
        "data": st.lists(st.integers() | st.lists(st.integers()), max_size=4) | JSON_VALUES,
        "parameters": st.dictionaries(st.just("binary_data_size"), JSON_VALUES) | JSON_VALUES,
    },
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | JSON_VALUES,
        "inputs": st.lists(TENSORS, max_size=3) | JSON_VALUES,
        "outputs": st.lists(TENSORS, max_size=2) | JSON_VALUES,
        "parameters": JSON_VALUES,
    },
)


def read_or_refuse(body: bytes, header_length: str | None = None) -> None:
    """Anything but a RequestError fails the test that calls this."""
    with contextlib.suppress(RequestError):
        read = read_infer_body(body, header_length)
        assert all(tensor.raw is not None or tensor.values for tensor in read.tensors)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.none() | st.text(max_size=12) | st.integers().map(str))
def test_any_bytes_are_read_or_refused(body: bytes, header_length: str | None) -> None:
    read_or_refuse(body, header_length)


@settings(max_examples=300, deadline=None)
@given(BODIES, st.binary(max_size=64))
def test_any_json_is_read_or_refused(content: Any, blob: bytes) -> None:
    text = json.dumps(content, allow_nan=False, default=str) if _finite(content) else "{}"
    read_or_refuse(text.encode())
    read_or_refuse(text.encode() + blob, str(len(text.encode())))


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(1, 3))
def test_data_nested_in_any_way_have_the_same_values(values: list[int], depth: int) -> None:
    nested: Any = values
    for _ in range(depth):
        nested = [nested]
    tensor = {"name": "x", "shape": [len(values)], "datatype": "INT64", "data": nested}
    read = read_infer_body(json.dumps({"inputs": [tensor]}).encode(), None)
    assert list(read.tensors[0].values) == values


def test_text_with_brackets_is_not_taken_for_depth() -> None:
    tensor = {"name": "[" * 500, "shape": [1], "datatype": "INT64", "data": [1]}
    read = read_infer_body(json.dumps({"inputs": [tensor]}).encode(), None)
    assert read.tensors[0].name == "[" * 500
