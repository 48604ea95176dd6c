"""Families behind one name, each taught questions in many languages, in FP32 and in INT8."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from bertqa.artifact import IR_FILE, ModelInfo
from bertqa.client import QAClient
from bertqa.evaluation import SquadDataset, System, compare, read_squad
from bertqa_build.data import collate, training_windows
from bertqa_build.export import to_openvino, write_openvino
from bertqa_build.model import SpanModel
from bertqa_build.quantization import quantize
from bertqa_build.training import turn_off_dropout
from tests.support.engines import Served
from tests.support.families import FAMILIES, Row
from tests.support.languages import QUESTIONS
from tests.support.models import write_config

pytestmark = pytest.mark.e2e

TAUGHT = ("bert", "roberta", "xlm-roberta", "modernbert")
FP32 = dict(zip(TAUGHT, (1, 3, 5, 7), strict=True))
INT8 = {family: version + 1 for family, version in FP32.items()}
LENGTH = 128


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SquadDataset:
    questions = defaultdict(list)
    for number, (question, context, answer) in enumerate(QUESTIONS):
        answers = [{"text": answer, "answer_start": context.index(answer)}]
        questions[context].append({"id": str(number), "question": question, "answers": answers})
    paragraphs = [{"context": context, "qas": asked} for context, asked in questions.items()]
    path = tmp_path_factory.mktemp("data") / "languages.json"
    document = {"version": "1.1", "data": [{"title": "Places", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_squad(path)


@pytest.fixture(scope="module")
def repository(dataset: SquadDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for models so small, more of them wait for each other
    for row in FAMILIES:
        if row.model_type in TAUGHT:
            write_taught_versions(root / "bert-qa", row, dataset)
    torch.set_num_threads(threads)
    write_config(root)
    return root


@pytest.fixture(scope="module")
def server(engine: str, repository: Path) -> Iterator[Served]:
    with Served(engine, repository) as server:
        yield server


def write_taught_versions(directory: Path, row: Row, dataset: SquadDataset) -> None:
    windows = training_windows(
        list(dataset),
        row.tokenizer_json(),
        max_seq_len=LENGTH,
        doc_stride=16,
        max_question_len=32,
        seed=0,
    )
    items = [windows[index] for index in range(len(windows))]
    assert len(items) == len(QUESTIONS)
    taught = SpanModel(row.model())
    teach(taught, items)
    info = ModelInfo(row.tokenizer_json(), max_seq_len=LENGTH, doc_stride=16)
    for versions, model in ((FP32, taught), (INT8, quantize(taught, items))):
        path = directory / str(versions[row.model_type]) / IR_FILE
        path.parent.mkdir(parents=True)
        write_openvino(to_openvino(model, quantized=versions is INT8), info, path)


def teach(model: SpanModel, items: list[dict[str, Any]]) -> None:
    """Train until each answer is certain."""
    batch = collate(items)
    inputs = {name: batch[name] for name in model.inputs}
    outside = batch["attention_mask"] == 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    turn_off_dropout(model)
    for _ in range(500):
        start, end = (logits.masked_fill(outside, -100) for logits in model(**inputs))
        loss = functional.cross_entropy(start, batch["start_positions"])
        loss = loss + functional.cross_entropy(end, batch["end_positions"])
        if loss < 1e-3:
            return
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    pytest.fail(f"The loss is still {loss:.3g}.")


@pytest.mark.parametrize("versions", [FP32, INT8], ids=["FP32", "INT8"])
def test_each_family_answers_what_it_was_taught_in_each_language(
    server: Served, versions: dict[str, int]
) -> None:
    with QAClient(**server.address()) as qa:
        for version in versions.values():
            for question, context, expected in QUESTIONS:
                answer = qa.answer(question, context, version=version)
                assert (answer.text, answer.model_version) == (expected, version)
                assert context[answer.start : answer.end] == expected


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_the_traffic_of_one_name_is_split_between_families(server: Served, scheme: str) -> None:
    pairs = [(question, context) for question, context, _ in QUESTIONS] * 20
    traffic = dict.fromkeys([*FP32.values(), *INT8.values()], 10)
    with QAClient(**server.address(scheme), traffic=traffic) as qa:
        answers = list(qa.answer_many(pairs))
    assert [answer.text for answer in answers] == [expected for *_, expected in QUESTIONS] * 20
    assert {answer.model_version for answer in answers} == set(traffic)


def test_versions_of_two_families_are_compared(server: Served, dataset: SquadDataset) -> None:
    with QAClient(**server.address()) as qa:
        first, second = (
            System(f"version {number}", qa, number) for number in (FP32["bert"], INT8["modernbert"])
        )
        comparison = compare(first, second, dataset, latency_questions=2)
    assert comparison.agreement == 100
    assert comparison.disagreements == []
