from pathlib import Path
from typing import Any

import pytest
import torch

from bertqa.artifact import Repository
from bertqa.evaluation import SquadDataset, read_squad
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa_build.errors import BuildError, CheckpointError
from bertqa_build.export import to_openvino
from bertqa_build.model import SpanModel
from bertqa_build.pipeline import build
from bertqa_build.recipe import Data, Model, Recipe
from bertqa_build.sanity import require_same_logits, unknown_share
from tests.support.checkpoints import write_squad
from tests.support.families import FAMILIES
from tests.support.models import model_info, tokenizer_json
from tests.support.trained_tokenizers import byte_pairs, json_of, unigram, word_piece

LENGTHS = Model(max_seq_len=64, doc_stride=16, max_question_len=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SquadDataset:
    return read_squad(write_squad(tmp_path_factory.mktemp("data") / "squad.json"))


def greek(folder: Path) -> Path:
    path = write_squad(folder / "greek.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Who was the duke", "\u03a9 " * 40), encoding="utf-8")
    return path


def test_a_tokenizer_of_the_language_knows_its_words(dataset: SquadDataset) -> None:
    assert unknown_share(tokenizer_json(), dataset) == 0


@pytest.mark.parametrize("train", [word_piece, unigram])
def test_unknown_tokens_are_counted(train: Any, dataset: SquadDataset, tmp_path: Path) -> None:
    known = unknown_share(json_of(train), dataset)
    assert unknown_share(json_of(train), read_squad(greek(tmp_path))) > known + 5


def test_bytes_are_always_known(tmp_path: Path) -> None:
    assert unknown_share(json_of(byte_pairs), read_squad(greek(tmp_path))) == 0


def test_a_tokenizer_of_another_language_is_refused_before_any_work(tmp_path: Path) -> None:
    row = FAMILIES[0]
    row.write(tmp_path / "checkpoint")
    greek(tmp_path)
    recipe = Recipe(
        name="greek",
        source="checkpoint",
        model=LENGTHS,
        data=Data(train=["greek.json"], evaluation="greek.json"),
    ).in_directory(tmp_path)
    repository = Repository(tmp_path / "repository")
    with pytest.raises(CheckpointError, match=r"does not know \d+\.\d % of the tokens of greek"):
        build(recipe, repository, tmp_path / "work", allow_leakage=True)
    assert not repository.root.exists()
    assert not (tmp_path / "work").exists()


def test_what_is_exported_is_what_transformers_computes(dataset: SquadDataset) -> None:
    row = FAMILIES[0]
    module = SpanModel(row.model())
    engine = OpenVINOEngine(to_openvino(module), model_info())
    require_same_logits(engine, module, row.tokenizer_json(), dataset, LENGTHS)
    with torch.no_grad():
        module.model.get_parameter("qa_outputs.bias").add_(torch.tensor([0.0, 0.5]))
    with pytest.raises(BuildError, match="end_logits differ from those of transformers by"):
        require_same_logits(engine, module, row.tokenizer_json(), dataset, LENGTHS)
