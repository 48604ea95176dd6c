"""Servers that describe a model, or answer, in ways that no program can use: errors of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from bertqa import BertQAError, NotAQAModelError, ProtocolError, QATokenizer, TokenizerError
from bertqa.artifact import ModelInfo
from bertqa.transport import ModelMetadata
from tests.support.engines import Served
from tests.support.gates import GrpcGate
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.rest_gate import rest_gate
from tests.support.twins import Twins
from tools.fuzz_client import tokenizer_tree

DIGITS = "9" * 5000


def without_special_tokens(tree: Any) -> None:
    """The Rust library panics, which is a BaseException."""
    tree["post_processor"]["special_tokens"] = {}


def without_unknown(tree: Any) -> None:
    """The Rust library raises a plain Exception for any word."""
    del tree["model"]["vocab"]["[UNK]"]


def without_template(tree: Any) -> None:
    tree["post_processor"] = None


DAMAGES = [without_special_tokens, without_unknown, without_template]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_tokenizer_is_an_error_of_ours(
    damage: Callable[[Any], None], open_client: Twins
) -> None:
    tree = json.loads(json.dumps(tokenizer_tree()))
    damage(tree)
    text = json.dumps(tree)
    client = open_client(transport=InProcessTransport({1: ModelInfo(text, 64, 16)}))
    for _ in range(2):
        with pytest.raises(TokenizerError):
            client.answer(QUESTION, CONTEXT)
    with pytest.raises(TokenizerError):
        list(client.answer_many([(QUESTION, CONTEXT)] * 3, return_errors=True))
    with pytest.raises(TokenizerError):
        QATokenizer.from_json(text).windows(QUESTION, CONTEXT)


@pytest.mark.parametrize("text", ["", "{}", "\ud800", "[" * 10_000, "null", b"{}", 5, None])
def test_a_text_that_makes_none_is_refused(text: Any) -> None:
    with pytest.raises(TokenizerError):
        QATokenizer.from_json(text)
    with pytest.raises(TokenizerError):
        QATokenizer(text)


@pytest.mark.parametrize("source", [b"x", 5, "\0", "\ud800", "x" * 5000, "/dev/zero", "/", ""])
def test_a_place_without_a_tokenizer_is_refused(source: Any) -> None:
    with pytest.raises(BertQAError):
        QATokenizer.load(source)
    with pytest.raises(BertQAError):
        QATokenizer.from_path(source)


@pytest.mark.parametrize("length", ["0", "-5", "１２", "1e3", "x", DIGITS, str(2**31)])
@pytest.mark.parametrize("key", ["max_seq_len", "doc_stride"])
def test_lengths_that_no_model_has(key: str, length: str, open_client: Twins) -> None:
    class Odd(InProcessTransport):
        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            found = super().metadata(version=version, timeout=timeout)
            rt_info = {**found.rt_info, key: length}
            return ModelMetadata(found.name, found.versions, found.inputs, found.outputs, rt_info)

    client = open_client(transport=Odd())
    if (key, length) == ("doc_stride", "0"):
        assert client.answer(QUESTION, CONTEXT).text
        return
    with pytest.raises(NotAQAModelError, match=key):
        client.answer(QUESTION, CONTEXT)


def rest_answer(body: object) -> bytes:
    content = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content)


OUTPUT = {"name": "start_logits", "datatype": "FP32", "shape": [1, 32], "data": []}
ANSWERS: list[dict[str, Any]] = [
    {"model_version": DIGITS, "outputs": []},
    {"model_version": "2", "outputs": [{**OUTPUT, "shape": [10**30, 0]}]},
    {"model_version": "2", "outputs": [{**OUTPUT, "shape": [-1, 32]}]},
    {"model_version": "2", "outputs": [{**OUTPUT, "shape": [0] * 100}]},
    {"model_version": "2", "outputs": [{**OUTPUT, "name": 5}]},
    {"model_version": "2", "outputs": [{**OUTPUT, "data": [1e300] * 32}] * 2},
    {"model_version": "2", "outputs": [{**OUTPUT, "parameters": {"binary_data_size": -4}}]},
]


@pytest.mark.parametrize("body", ANSWERS)
def test_an_answer_over_rest_that_cannot_be(
    body: dict[str, Any], open_client: Twins, local_server: Served
) -> None:
    with rest_gate(local_server.rest_url) as gate:
        gate.obstacles = {"/v2/models/bert-qa/infer": [rest_answer(body)]}
        client = open_client(gate.url, timeout=60)
        with pytest.raises(ProtocolError):
            client.answer(QUESTION, CONTEXT)
        client.close()


@pytest.mark.parametrize(
    "change",
    [
        {"versions": [DIGITS]},
        {"versions": ["-1"]},
        {"versions": 5},
        {"inputs": [{"name": 5, "datatype": "INT64"}, {"name": "x", "datatype": "INT64"}]},
        {"inputs": [{"name": "x", "datatype": None}]},
        {"rt_info": []},
    ],
)
def test_a_description_over_rest_that_cannot_be(
    change: dict[str, Any], open_client: Twins, local_server: Served
) -> None:
    body = {"name": "bert-qa", "versions": ["1"], "inputs": [], "outputs": [], **change}
    with rest_gate(local_server.rest_url) as gate:
        gate.obstacles = {"/v2/models/bert-qa": [rest_answer(body)]}
        client = open_client(gate.url, timeout=60)
        with pytest.raises(ProtocolError):
            client.answer(QUESTION, CONTEXT)
        client.close()


@pytest.mark.parametrize(
    ("version", "shape"),
    [
        (DIGITS, [1, 32]),
        ("-1", [1, 32]),
        ("２", [1, 32]),
        (str(2**63), [1, 32]),
        ("2", [2**62, 0]),
        ("2", [0] * 100),
        ("2", [-1, 32]),
        ("2", []),
    ],
)
def test_an_answer_over_grpc_that_cannot_be(
    version: str, shape: list[int], open_client: Twins, local_server: Served
) -> None:
    message = service_pb2.ModelInferResponse(model_version=version)
    for name in ("start_logits", "end_logits"):
        message.outputs.add(name=name, datatype="FP32", shape=shape)
        message.raw_output_contents.append(b"" if 0 in shape else bytes(128))
    tokenizer = QATokenizer.from_json(tokenizer_json())
    with GrpcGate(local_server.grpc_port) as gate:
        client = open_client(f"localhost:{gate.port}", tokenizer=tokenizer, timeout=60)
        client.answer(QUESTION, CONTEXT)
        gate.obstacles = [message.SerializeToString()]
        with pytest.raises(ProtocolError):
            client.answer(QUESTION, CONTEXT)
        client.close()


def test_a_tokenizer_that_is_whole_is_used(open_client: Twins) -> None:
    client = open_client(transport=InProcessTransport({1: model_info()}))
    assert client.answer(QUESTION, CONTEXT).model_version == 1
