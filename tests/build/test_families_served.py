"""Versions of four families behind one name, each taught questions in Japanese, Arabic and Thai."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
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
from bertqa_build.recipe import Quantization
from bertqa_build.training import turn_off_dropout
from tests.support.engines import Served
from tests.support.families import FAMILIES, Row
from tests.support.models import write_config
from tests.support.twins import Twins

pytestmark = [pytest.mark.thorough, pytest.mark.e2e]

VERSIONS = {1: "bert", 2: "roberta", 3: "modernbert", 4: "xlm-roberta"}
JAPANESE = "日本の首都は「東京」です。日本で一番高い山は「富士山」です。"
ARABIC = "القاهرة هي عاصمة مصر. يقع نهر النيل في أفريقيا وهو أطول نهر."
THAI = "กรุงเทพมหานคร เป็นเมืองหลวงของประเทศไทย ส่วน เชียงใหม่ อยู่ทางภาคเหนือ"
QUESTIONS = [
    ("首都はどこ?", JAPANESE, "東京"),
    ("高い山は?", JAPANESE, "富士山"),
    ("ما هي عاصمة مصر؟", ARABIC, "القاهرة"),
    ("أين يقع النيل؟", ARABIC, "أفريقيا"),
    ("เมืองหลวงของไทยคือ", THAI, "กรุงเทพมหานคร"),
    ("เมืองใดอยู่ภาคเหนือ", THAI, "เชียงใหม่"),
]
LENGTH = 128
both_protocols = pytest.mark.parametrize("scheme", ["grpc", "http"])


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
    """A version of each family, in INT8."""
    root = tmp_path_factory.mktemp("repository")
    rows = {row.model_type: row for row in FAMILIES}
    for version, model_type in VERSIONS.items():
        write_taught_version(root / "bert-qa" / str(version), rows[model_type], dataset)
    write_config(root)
    return root


@pytest.fixture(scope="module")
def server(engine: str, repository: Path) -> Iterator[Served]:
    with Served(engine, repository) as server:
        yield server


def write_taught_version(directory: Path, row: Row, dataset: SquadDataset) -> None:
    windows = training_windows(
        dataset.questions,
        row.tokenizer_json(),
        max_seq_len=LENGTH,
        doc_stride=16,
        max_question_len=32,
        seed=0,
    )
    items = [windows[index] for index in range(len(windows))]
    assert len(items) == len(QUESTIONS)
    model = row.model()
    teach(SpanModel(model), items)
    int8 = quantize(model, items, Quantization())
    info = ModelInfo(row.tokenizer_json(), max_seq_len=LENGTH, doc_stride=16)
    directory.mkdir(parents=True)
    write_openvino(to_openvino(int8, quantized=True), info, directory / IR_FILE)


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


@both_protocols
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_version_answers_in_each_language_with_exact_offsets(
    server: Served, scheme: str, kind: str
) -> None:
    twins = Twins(kind)
    client = twins(**server.address(scheme))
    for version in VERSIONS:
        for question, context, expected in QUESTIONS:
            answer = client.answer(question, context, version=version)
            assert (answer.text, answer.model_version) == (expected, version)
            assert (answer.start, answer.end) == (
                context.index(expected),
                context.index(expected) + len(expected),
            )
    twins.close()


@both_protocols
def test_the_traffic_of_one_name_is_split_between_families(server: Served, scheme: str) -> None:
    pairs = [(question, context) for question, context, _ in QUESTIONS] * 20
    traffic = {1: 25, 2: 25, 3: 25, 4: 25}
    with QAClient(**server.address(scheme), traffic=traffic) as qa:
        answers = list(qa.answer_many(pairs))
    assert [answer.text for answer in answers] == [gold for *_, gold in QUESTIONS] * 20
    shares = Counter(answer.model_version for answer in answers)
    assert set(shares) == set(VERSIONS)
    assert min(shares.values()) > 10


def test_versions_of_two_families_are_compared(server: Served, dataset: SquadDataset) -> None:
    with QAClient(**server.address()) as qa:
        first, second = (System(f"version {number}", qa, number) for number in (1, 3))
        comparison = compare(first, second, dataset, latency_questions=2)
    assert comparison.agreement == 100
    assert comparison.disagreements == []
