from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tokenizers import Tokenizer

from bertqa.artifact import Repository
from bertqa.errors import RepositoryError
from bertqa_deploy.registries.package import Package, package_of
from tests.deploy.registries.conftest import CONFIG
from tests.support.models import tokenizer_json, write_manifest, write_toy_version


@pytest.fixture(scope="module")
def package(made: Repository) -> Package:
    return package_of(made, 2)


def content(package: Package, path: str) -> bytes:
    (file,) = [file for file in package.files if file.path == path]
    with file.open() as opened:
        return opened.read()


def test_it_has_what_other_tools_load_and_the_largest_file_last(package: Package) -> None:
    assert {file.path for file in package.files} == {
        "README.md",
        "config.json",
        "manifests/onnx.json",
        "manifests/openvino.json",
        "model.onnx",
        "openvino_model.bin",
        "openvino_model.xml",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    sizes = [file.size for file in package.files]
    assert sizes == sorted(sizes)


def test_manifests_and_models_are_those_of_the_repository_byte_for_byte(
    package: Package, made: Repository
) -> None:
    directory = made.version_dir(2)
    for path, name in (("manifests/openvino.json", "manifest.json"), ("model.onnx", "")):
        there = directory / name if name else made.root / "bert-qa-onnx/2/model.onnx"
        assert content(package, path) == there.read_bytes()


def test_the_card_has_the_scores_in_the_hub_s_own_form(package: Package) -> None:
    card: Any = ModelCard(content(package, "README.md").decode())

    assert card.data.pipeline_tag == "question-answering"
    assert card.data.base_model == "org/base"
    assert card.data.tags == ["bert-qa", "openvino", "onnx", "int8"]
    results = {(each.metric_type, each.metric_name): each for each in card.data.eval_results}
    assert results["f1", "F1, OpenVINO IR"].metric_value == 78.1713
    assert results["exact_match", "Exact match, ONNX"].metric_value == 65.0
    assert {each.dataset_name for each in results.values()} == {"dev.json"}
    assert "ORTModelForQuestionAnswering" in card.text


@pytest.mark.thorough
def test_transformers_reads_configuration_and_tokenizer(package: Package, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    for path in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / path).write_bytes(content(package, path))

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)

    assert AutoConfig.from_pretrained(tmp_path).architectures == CONFIG["architectures"]
    encoded = tokenizer("Who wrote it?", "Somebody did.")
    own = Tokenizer.from_str(tokenizer_json())
    own.no_padding()
    expected = own.encode("Who wrote it?", "Somebody did.")
    assert encoded["input_ids"] == expected.ids
    assert encoded["token_type_ids"] == expected.type_ids
    assert tokenizer.model_max_length == 384
    named = (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.mask_token)
    assert named == ("[CLS]", "[SEP]", "[PAD]", "[MASK]")


def test_the_same_version_is_the_same_package_whenever_it_is_packed(
    package: Package, made: Repository
) -> None:
    assert package_of(made, 2).digest == package.digest != package_of(made, 1).digest


def test_a_version_without_scores_and_twin_has_a_card_all_the_same(tmp_path: Path) -> None:
    write_manifest(write_toy_version(tmp_path, 1), family="bert", precision="FP32")

    package = package_of(Repository(tmp_path), 1)

    card: Any = ModelCard(content(package, "README.md").decode())
    assert card.data.eval_results is None
    assert card.data.base_model is None
    assert "| OpenVINO IR | not scored |" in card.text
    assert "ORTModel" not in card.text
    config = json.loads(content(package, "config.json"))
    assert config == {"model_type": "bert", "vocab_size": 30522}


def test_a_version_of_no_known_family_is_refused(tmp_path: Path) -> None:
    write_manifest(write_toy_version(tmp_path, 1))
    with pytest.raises(RepositoryError, match="did not keep the model's family"):
        package_of(Repository(tmp_path), 1)


def test_a_version_that_does_not_describe_itself_is_refused(tmp_path: Path) -> None:
    write_manifest(write_toy_version(tmp_path, 1, describe=False), family="bert")
    with pytest.raises(RepositoryError, match="does not say which tokenizer it has"):
        package_of(Repository(tmp_path), 1)


def test_a_file_that_other_tools_do_not_know_is_refused(tmp_path: Path) -> None:
    directory = write_toy_version(tmp_path, 1)
    (directory / "notes.txt").write_text("x")
    write_manifest(directory, family="bert")
    with pytest.raises(RepositoryError, match=r"notes.txt is not one of the files"):
        package_of(Repository(tmp_path), 1)
