"""What users may rely on, listed in one place; a change of it is a change of the version."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import bertqa
from bertqa import errors
from tests.support.engines import Served
from tests.support.public_api import public_api

LISTING = Path(__file__).with_name("public_api.txt")
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


def test_the_public_names_and_what_they_take() -> None:
    assert public_api() == LISTING.read_text(encoding="utf-8"), (
        "The public API changed, which is a change of the version. Where it is meant: "
        "python -m tests.support.public_api > tests/client/public_api.txt"
    )


def test_every_public_name_is_there() -> None:
    assert [name for name in bertqa.__all__ if not hasattr(bertqa, name)] == []
    assert bertqa.__version__ == version("bertqa")


def test_the_options_of_a_question() -> None:
    from bertqa.client._options import AskOptions

    assert set(AskOptions.__annotations__) == OPTIONS


def test_the_defaults_of_the_decoders_are_those_of_their_references() -> None:
    assert bertqa.PipelineDecoder() == bertqa.PipelineDecoder(15, True, False)
    assert bertqa.SquadDecoder() == bertqa.SquadDecoder(20, 30, None)


def test_every_error_has_the_one_root() -> None:
    found = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert set(found) <= set(bertqa.__all__)
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
def test_a_client_that_is_never_closed_ends_without_a_word(server: Served, scheme: str) -> None:
    code = f"""
from bertqa import QAClient
client = QAClient(**{server.address(scheme)!r}, timeout=60)
print(len(list(client.answer_many([("Who?", "The Normans.")] * 50, look_ahead=4))))
"""
    assert run(code, "-W", "default", "-X", "dev") == "50\n"


def test_modules_that_are_not_public_begin_with_an_underscore() -> None:
    package = Path(bertqa.__file__).parent
    public = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if not any(part.startswith("_") for part in path.relative_to(package).parts)
    }
    assert public == {
        "errors.py",
        "runtime/onnxruntime.py",
        "runtime/openvino.py",
        "runtime/torch.py",
        "transport/codecs/tfserving.py",
    }
