from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import openvino as ov
import pytest

from bertqa.artifact import own_precision, plugin_config, precision_hint, usable_cores
from bertqa.errors import (
    ClientStateError,
    DeadlineExceededError,
    ModelLoadError,
    VersionNotFoundError,
)
from bertqa.runtime import load
from bertqa.runtime.openvino import OpenVINOEngine, core
from tests.support.models import write_toy_version
from tests.support.twins import Twins

CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century."
QUESTION = "What is the capital?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model with the versions 2 and 10."""
    root = tmp_path_factory.mktemp("repository")
    for version in (2, 10):
        write_toy_version(root, version)
    return root / "bert-qa"


def test_a_version_a_model_and_a_file_can_be_loaded(model: Path) -> None:
    assert load(model / "2").version == 2
    assert load(model).version == 10
    assert load(str(model), 2).version == 2
    assert load(model / "2" / "model.xml").version == 2


def test_a_model_computes_as_on_a_server_and_as_it_was_scored_where_it_is_scored(
    model: Path,
) -> None:
    as_served, scored = load(model), load(model, scoring=True)
    assert isinstance(as_served, OpenVINOEngine)
    assert isinstance(scored, OpenVINOEngine)
    properties = precision_hint(own_precision())
    served = core().compile_model(core().read_model(model / "10" / "model.xml"), "CPU", properties)
    for name in ("INFERENCE_PRECISION_HINT", "NUM_STREAMS"):
        assert as_served.compiled.get_property(name) == served.get_property(name)
    assert scored.compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32
    assert (
        str(scored.compiled.get_property("NUM_STREAMS"))
        == plugin_config(usable_cores())["NUM_STREAMS"]
    )


def test_a_directory_that_is_not_a_number_is_version_1(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model / "2", tmp_path / "candidate")
    assert load(tmp_path / "candidate").version == 1


def test_the_current_directory_can_be_loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model / "2")
    assert load(".").version == 2


@pytest.mark.parametrize("at", [".", "2", "2/model.xml"])
def test_a_version_that_is_not_there_is_named_with_those_that_are(model: Path, at: str) -> None:
    with pytest.raises(VersionNotFoundError, match=r"has no version 3 \(versions: 2(, 10)?\)"):
        load(model / at, 3)


def test_a_path_without_a_model_names_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "notes.txt"):
        with pytest.raises(ModelLoadError, match=r"looked for model\.xml and model\.onnx"):
            load(path)


@pytest.mark.parametrize("version", [None, 2])
def test_a_repository_is_refused_with_the_models_that_it_has(
    model: Path, version: int | None
) -> None:
    with pytest.raises(
        ModelLoadError, match=r"its models are bert-qa\. Name one, such as "
    ) as info:
        load(model.parent, version)
    assert str(model) in str(info.value)


@pytest.mark.parametrize(
    ("package", "file", "extra"),
    [("openvino", "model.xml", "evaluate"), ("onnxruntime", "model.onnx", "onnx")],
)
def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, package: str, file: str, extra: str
) -> None:
    (tmp_path / file).write_text("never read")
    code = f"""
import sys
sys.modules[{package!r}] = None
from bertqa.errors import ModelLoadError
from bertqa.runtime import load
try:
    load({str(tmp_path)!r})
except ModelLoadError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert f"the package {package} is not installed" in done.stdout
    assert f"extra `{extra}`" in done.stdout


def test_a_client_answers_in_this_process(model: Path, open_client: Twins) -> None:
    for version in (2, 10):
        client = open_client.local(model, version=version)
        answer = client.answer(QUESTION, CONTEXT)
        assert answer.model_version == version
        assert CONTEXT[answer.start : answer.end] == answer.text
        answers = list(client.answer_many([(QUESTION, CONTEXT)] * 20))
        assert [each.model_version for each in answers] == [version] * 20


def test_a_local_client_keeps_to_its_version_and_timeout(model: Path, open_client: Twins) -> None:
    client = open_client.local(model)
    with pytest.raises(VersionNotFoundError, match="no version 2: version 10 is loaded"):
        client.answer(QUESTION, CONTEXT, version=2)
    client.answer(QUESTION, CONTEXT)
    with pytest.raises(DeadlineExceededError):
        client.answer(QUESTION, CONTEXT, timeout=1e-6)
    assert client.answer(QUESTION, CONTEXT).model_version == 10


def test_a_closed_local_client_answers_no_more(model: Path, open_client: Twins) -> None:
    client = open_client.local(model)
    client.close()
    with pytest.raises(ClientStateError):
        client.answer(QUESTION, CONTEXT)
