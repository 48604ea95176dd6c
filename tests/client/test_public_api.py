"""What users may rely on, listed in one place; a change of it is a change of the version."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import bertqa
from bertqa import errors
from tests.support.engines import Served

PUBLIC = {
    "TLS": "(ca: 'str | Path | None' = None, certificate: 'str | Path | None' = None, "
    "key: 'str | Path | None' = None) -> None",
    "Answer": "(text: 'str', start: 'int', end: 'int', score: 'float', model_version: 'int') "
    "-> None",
    "AsyncQAClient": "(url, *, transport, model, version, traffic, fall_back, shadow, on_shadow, "
    "recorder, "
    "tokenizer, metadata_url, timeout, tls, token, headers)",
    "BertQAError": "(message: 'str', *, detail: 'str | None' = None) -> 'None'",
    "PipelineDecoder": "(max_answer_len: 'int' = 15, align_to_words: 'bool' = True, "
    "handle_impossible_answer: 'bool' = False) -> None",
    "QAClient": "(url, *, transport, model, version, traffic, fall_back, shadow, on_shadow, "
    "recorder, "
    "tokenizer, metadata_url, timeout, tls, token, headers)",
    "QATokenizer": "(tokenizer: 'Tokenizer') -> 'None'",
    "SquadDecoder": "(n_best: 'int' = 20, max_answer_len: 'int' = 30, "
    "null_score_threshold: 'float | None' = None) -> None",
}
METHODS = {"answer", "answers", "answer_many", "outcomes", "close", "local"}
OPTIONS = {
    "max_seq_len",
    "doc_stride",
    "max_question_len",
    "max_answer_len",
    "align_to_words",
    "handle_impossible_answer",
    "decoder",
    "version",
    "key",
    "timeout",
}
ERRORS = {
    "AccessDeniedError",
    "BertQAError",
    "ClientStateError",
    "ConfigError",
    "DataError",
    "DeadlineExceededError",
    "InvalidContextError",
    "InvalidOptionError",
    "InvalidQuestionError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "NotAQAModelError",
    "ProtocolError",
    "QualityGateError",
    "RepositoryError",
    "ServerOverloadedError",
    "ServerUnreachableError",
    "TokenizerError",
    "VersionNotFoundError",
}


def signature(public: object) -> str:
    found = inspect.signature(public)  # type: ignore[arg-type]
    if not str(public).endswith("QAClient'>"):
        return str(found)
    url, *others = found.parameters
    assert all(found.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in others)
    return f"({url}, *, {', '.join(others)})"


def test_the_public_names_and_what_they_take() -> None:
    assert {name: signature(getattr(bertqa, name)) for name in bertqa.__all__} == PUBLIC


def test_the_clients_methods_and_options() -> None:
    for client in (bertqa.QAClient, bertqa.AsyncQAClient):
        assert {name for name in dir(client) if not name.startswith("_")} == METHODS
    from bertqa.client._options import AskOptions

    assert set(AskOptions.__annotations__) == OPTIONS


def test_every_error_has_the_one_root() -> None:
    found = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert set(found) == ERRORS
    assert all(issubclass(kind, errors.BertQAError) for kind in found.values())


def run(code: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_an_import_brings_nothing_heavy_and_needs_nothing_optional() -> None:
    heavy = ("torch", "transformers", "openvino", "onnx", "datasets", "bertqa_build", "ovmsclient")
    code = f"""
import sys
sys.modules["opentelemetry"] = None
import bertqa
from bertqa import QAClient
print([name for name in {heavy!r} if name in sys.modules])
"""
    assert run(code) == "[]\n"


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_client_that_nobody_closes_ends_without_a_word(server: Served, scheme: str) -> None:
    code = f"""
from bertqa import QAClient
client = QAClient(**{server.address(scheme)!r}, timeout=60)
print(len(list(client.answer_many([("Who?", "The Normans.")] * 50, look_ahead=4))))
"""
    assert run(code, "-W", "default", "-X", "dev") == "50\n"
