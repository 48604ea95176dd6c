"""Feed damaged answers of a server to the client's parsers, and check that it survives them.

    python -m tools.fuzz_client [--inputs 1000000] [--seed 0]

There are three parsers of foreign bytes: of REST responses, of gRPC messages, and of the `rt_info`
that holds lengths and a tokenizer. Hypothesis makes the inputs: valid ones with changes. What
leaves a parser has to be an answer within the context, or an error of `bertqa.errors`. Where it is
something else, the smallest such input is printed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from typing import Any

import httpx
import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tritonclient.grpc import service_pb2

from bertqa.artifact import ModelInfo
from bertqa.client import ModelRegistry
from bertqa.errors import BertQAError
from bertqa.qa import PipelineDecoder, QATokenizer, SquadDecoder, split_logits
from bertqa.transport import InferResult, ModelMetadata
from bertqa.transport.codecs import KServeCodec, RestCodec
from tools.damage import edited_bytes, edited_tree

QUESTION, CONTEXT = "who wrote it", "the book was written by anna in rouen, rene\u0301 says"
# Each round is a run of its own of Hypothesis, which remembers what it has tried.
ROUND = 5_000

_DECODERS = (PipelineDecoder(), SquadDecoder(null_score_threshold=0.0))
_INPUTS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "INT64")
_OUTPUTS = dict.fromkeys(("start_logits", "end_logits"), "FP32")
_WORDS = ("the", "book", "was", "written", "by", "anna", "in", "rouen", "who", "wrote", "it", ",")

_NUMBERS = (
    *(-1, 0, 1, 2, 3, 32, 64, 2**31 - 1, 2**31, 2**62, 2**63 - 1, 2**63, -(2**63), 10**30),
    *(0.5, -0.0, 1e300, 1e39, float("nan"), float("inf")),
)
_TEXTS = (
    *("", "x", "0", "-1", "1", "2", "9" * 19, "9" * 5000, "1.5", "１", " 1", "1_0", "nan", "1e999"),
    *("FP32", "FP16", "INT64", "start_logits", "end_logits", "\x00", "\ud800", "é" * 300, "[UNK]"),
    *("WordLevel", "BPE", "Unigram", "Sequence", "Replace", "Precompiled", "ByteLevel", "a|*("),
)
_ODD = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from((None, True, False, [], {}, [[]], [None], {"": {}}, [1, "1"], [-1, 0])),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)
_PIECES = (
    b"[" * 2000,
    b"9" * 5000,
    b"\\ud800",
    b'"',
    b",",
    b"null",
    b"-",
    b"\xff",
    b"1e999",
    b"{}",
)
_PLACE = st.integers(0, 2**16 - 1)
_BYTE_EDITS = st.lists(
    st.tuples(
        _PLACE, st.integers(0, 12), st.one_of(st.sampled_from(_PIECES), st.binary(max_size=8))
    ),
    max_size=4,
)
_TREE_EDITS = st.lists(st.tuples(_PLACE, st.booleans(), _ODD), max_size=2)


@cache
def tokenizer_tree() -> Any:
    """Return the JSON of a small tokenizer as a BERT model has it."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    vocabulary = {token: number for number, token in enumerate((*special, *_WORDS))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return json.loads(tokenizer.to_str())


@cache
def _sound_rt_info() -> Mapping[str, str]:
    return ModelInfo(json.dumps(tokenizer_tree()), 32, 8, f1=88.5, source="fuzz").to_rt_info()


@cache
def _windows() -> Any:
    tokenizer = QATokenizer.from_json(json.dumps(tokenizer_tree()))
    return tokenizer.windows(QUESTION, CONTEXT, max_seq_len=32, doc_stride=8)


@cache
def _logits() -> tuple[tuple[int, int], bytes]:
    shape = len(_windows()), 32
    return shape, np.linspace(-1, 1, num=shape[0] * shape[1], dtype="<f4").tobytes()


@cache
def _rest_tree() -> Any:
    shape, content = _logits()
    start, end = _OUTPUTS
    binary = {"binary_data_size": len(content)}
    values = np.frombuffer(content, "<f4").tolist()
    return {
        "model_name": "bert-qa",
        "model_version": "2",
        "outputs": [
            {"name": start, "shape": list(shape), "datatype": "FP32", "data": values},
            {"name": end, "shape": list(shape), "datatype": "FP32", "parameters": binary},
        ],
    }


@cache
def _metadata_tree() -> Any:
    return {
        "name": "bert-qa",
        "versions": ["1", "2"],
        "platform": "OpenVINO",
        "inputs": [
            {"name": name, "datatype": kind, "shape": [-1, -1]} for name, kind in _INPUTS.items()
        ],
        "outputs": [
            {"name": name, "datatype": kind, "shape": [-1, -1]} for name, kind in _OUTPUTS.items()
        ],
        "rt_info": {"model_info": dict(_sound_rt_info())},
    }


def _use(result: InferResult) -> None:
    """Do with a result what a client does, and check the answers."""
    logits = split_logits(result.outputs, _windows())
    for decoder in _DECODERS:
        for span in decoder.decode(CONTEXT, _windows(), logits, 3):
            assert 0 <= span.start <= span.end <= len(CONTEXT)
            assert 0 <= span.score <= 1.000001
    assert result.model_version >= 0


def _learn(metadata: ModelMetadata) -> None:
    """Do with metadata what a client does, and check the windows."""
    spec = ModelRegistry().learn(None, metadata)
    windows = spec.windows(
        QUESTION, CONTEXT, max_seq_len=None, doc_stride=None, max_question_len=64
    )
    for window in windows:
        assert len(window.input_ids) == len(window.offsets) <= spec.max_seq_len


def _rest_response(tree_edits: Any, byte_edits: Any, length: str | None) -> None:
    """Parse a response over REST."""
    _, content = _logits()
    head = json.dumps(edited_tree(_rest_tree(), tree_edits)).encode()
    body = edited_bytes(head + content, byte_edits)
    headers = httpx.Headers({"Inference-Header-Content-Length": length or str(len(head))})
    _use(RestCodec("bert-qa").infer_result(body, headers))


def _rest_metadata(tree_edits: Any, byte_edits: Any, length: str | None) -> None:
    """Parse a description over REST, or what an error says."""
    body = json.dumps(edited_tree(_metadata_tree(), tree_edits)).encode()
    body = edited_bytes(body, byte_edits)
    assert isinstance(RestCodec("bert-qa").error_detail(body), str)
    _learn(RestCodec("bert-qa").model_metadata(body))


def _grpc_response(version: str, shapes: Any, types: Any, contents: Any, byte_edits: Any) -> None:
    """Parse a response over gRPC."""
    shape, content = _logits()
    message = service_pb2.ModelInferResponse(model_version=version)
    for index, name in enumerate(_OUTPUTS):
        message.outputs.add(
            name=name, datatype=types[index] or "FP32", shape=shapes[index] or shape
        )
        message.raw_output_contents.append(content if contents[index] is None else contents[index])
    data = edited_bytes(message.SerializeToString(), byte_edits)
    with contextlib.suppress(DecodeError):  # gRPC itself reports that.
        _use(
            KServeCodec("bert-qa").infer_result(service_pb2.ModelInferResponse.FromString(data), 2)
        )


def _grpc_metadata(version: str, shapes: Any, types: Any, contents: Any, byte_edits: Any) -> None:
    """Parse a description over gRPC."""
    message = service_pb2.ModelMetadataResponse(name="bert-qa", versions=["1", version])
    for (name, kind), other in zip(_INPUTS.items(), (*types, ""), strict=True):
        message.inputs.add(name=name, datatype=other or kind, shape=shapes[0] or [-1, -1])
    for name, kind in _OUTPUTS.items():
        message.outputs.add(name=name, datatype=kind, shape=[-1, -1])
    data = edited_bytes(message.SerializeToString(), byte_edits)
    with contextlib.suppress(DecodeError):
        _learn(
            KServeCodec("bert-qa").model_metadata(
                service_pb2.ModelMetadataResponse.FromString(data)
            )
        )


def _rt_info(tokenizer_edits: Any, entries: Any, byte_edits: Any) -> None:
    """Read lengths and a tokenizer; the digest fits unless bytes are changed."""
    tree = edited_tree(tokenizer_tree(), tokenizer_edits)
    try:
        info = ModelInfo(json.dumps(tree), 32, 8).to_rt_info()
    except UnicodeEncodeError:  # No such text can be written.
        return
    if byte_edits:
        packed = edited_bytes(base64.b64decode(info["tokenizer_json"]), byte_edits)
        info["tokenizer_json"] = base64.b64encode(packed).decode()
    info |= entries
    _learn(ModelMetadata("bert-qa", (1, 2), _INPUTS, _OUTPUTS, info))


def _rarely(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    """Return a strategy that is used once in three times."""
    return st.one_of(st.just(otherwise), st.just(otherwise), strategy)


_LENGTH = _rarely(st.sampled_from(("0", "-1", "x", "9" * 5000, "1_0", "", "40")), None)
_VERSION = st.one_of(st.just("2"), st.text(max_size=4), st.sampled_from(("9" * 5000, "-1", "２")))
_SIZES = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((-1, 0, 1, 32, 2**62))
_SHAPES = st.tuples(*[st.one_of(st.just([]), st.lists(_SIZES, max_size=70))] * 2)
_TYPES = st.tuples(*[st.sampled_from(("", "", "", "FP16", "INT64", "x"))] * 2)
_CONTENTS = st.tuples(
    *[st.one_of(st.none(), st.binary(max_size=16), st.just(b"\xff" * 256), st.just(b"\0" * 128))]
    * 2
)
_ENTRIES = st.dictionaries(
    st.sampled_from(("max_seq_len", "doc_stride", "tokenizer_sha256", "tokenizer_json", "f1")),
    st.one_of(st.sampled_from(_TEXTS), st.text(max_size=5), st.integers(-1, 40).map(str)),
    max_size=2,
)
_FEW_BYTES = _rarely(_BYTE_EDITS, [])

PARSERS: Mapping[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...], int]] = {
    "REST response": (_rest_response, (_TREE_EDITS, _FEW_BYTES, _LENGTH), 3),
    "REST metadata": (_rest_metadata, (_TREE_EDITS, _FEW_BYTES, _LENGTH), 2),
    "gRPC response": (_grpc_response, (_VERSION, _SHAPES, _TYPES, _CONTENTS, _FEW_BYTES), 3),
    "gRPC metadata": (_grpc_metadata, (_VERSION, _SHAPES, _TYPES, _CONTENTS, _FEW_BYTES), 1),
    "rt_info": (_rt_info, (_TREE_EDITS, _rarely(_ENTRIES, {}), _rarely(_BYTE_EDITS, [])), 1),
}
"""By name what parses, what it is called with, and its part of the inputs."""


def run(name: str, inputs: int, number: int) -> Counter[str]:
    """Feed one parser, and count what became of the inputs.

    Args:
        name: A key of `PARSERS`.
        inputs: How many inputs to make.
        number: The same number makes the same inputs.

    Returns:
        The numbers of inputs by outcome: "used", or the error's class.

    Raises:
        BaseException: What left a parser although it must not, with the smallest such input.
    """
    parse, strategies, _ = PARSERS[name]
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def check(arguments: tuple[Any, ...]) -> None:
        try:
            parse(*arguments)
        except BertQAError as error:
            outcomes[type(error).__name__] += 1
        except BaseException as error:
            if isinstance(error, Exception | KeyboardInterrupt):
                raise
            # Hypothesis shrinks none but exceptions.
            raise AssertionError(f"{type(error).__name__}: {error}") from error
        else:
            outcomes["used"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check()
    return outcomes


def _round(name: str, inputs: int, number: int) -> tuple[str, Counter[str], str]:
    """Run one round in a process of its own; return what failed as a text."""
    # The library of tokenizers reports on stderr what it raises as well.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        return name, run(name, inputs, number), ""
    except Exception:
        return name, Counter(), traceback.format_exc()


def main() -> int:
    """Feed all parsers, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = sum(part for *_, part in PARSERS.values())
    rounds: list[tuple[str, int, int]] = []
    for name, (*_, part) in PARSERS.items():
        left = -(-options.inputs * part // parts)
        while left > 0:
            rounds.append((name, min(left, ROUND), options.seed * 1_000_003 + len(rounds)))
            left -= ROUND
    total, done, begin = sum(inputs for _, inputs, _ in rounds), 0, time.monotonic()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in PARSERS}
    with ProcessPoolExecutor() as pool:
        running = {pool.submit(_round, *each): each for each in rounds}
        for future in as_completed(running):
            name, counted, failure = future.result()
            if failure:
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"{name}, round {running[future][2]}:\n{failure}")
                return 1
            outcomes[name] += counted
            done += running[future][1]
            seconds = time.monotonic() - begin
            left_minutes = seconds / done * (total - done) / 60
            print(f"{done:>9,} of {total:,} inputs, {left_minutes:.0f} minutes left", flush=True)
    for name, counted in outcomes.items():
        found = ", ".join(f"{outcome} {count:,}" for outcome, count in counted.most_common())
        print(f"{name}: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
