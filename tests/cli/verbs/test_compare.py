from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa import Answer
from bertqa.client import Recorder
from tests.cli.conftest import Invoke
from tests.support.engines import Served

CONTEXT = "The bridge over the river was designed by Anna Berg and opened in 1932 by the king."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    questions = [
        {"id": word, "question": f"Who is {word}?", "answers": [{"text": word, "answer_start": at}]}
        for word in ("bridge", "river", "Anna", "1932", "king")
        for at in [CONTEXT.index(word)]
    ]
    document = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    path = tmp_path_factory.mktemp("data") / "five.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_two_served_versions_side_by_side(
    invoke: Invoke, served: Served, data: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    arguments = ["--data", str(data), "--url", served.rest_url, "--html", str(page)]
    shown = invoke("compare", "1", "2", *arguments, "--repository", str(served.repository))

    assert shown.status == 0, shown.err
    for part in ("exact match", "95th percentile", "size on disk", "5 questions of five.json"):
        assert part in shown.out
    assert "McNemar" in shown.out or "Both have the same" in shown.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")

    found = json.loads(invoke("compare", "1", "2", *arguments, "--json").out)
    assert [system["name"] for system in found["metrics"]] == ["version 1", "version 2"]
    assert 0 <= found["agreement"] <= 100
    assert found["verdict"] in shown.out


def test_a_model_that_is_not_published_against_a_published_one(
    invoke: Invoke, served: Served, data: Path
) -> None:
    artefact = served.repository / "bert-qa" / "2"
    result = invoke(
        *("compare", "1", str(artefact), "--data", str(data), "--json"),
        *("--repository", str(served.repository)),
    )
    found = json.loads(result.out)
    assert [system["name"] for system in found["metrics"]] == ["version 1", str(artefact)]
    assert all(system["size"] > 0 for system in found["metrics"])


def test_recorded_traffic_is_reported_on(invoke: Invoke, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "log", clear=True)
    for number in range(6):
        one, other = Answer("Berg", 0, 4, 0.75, 1), Answer("Anna" * (number % 2), 0, 4, 0.5, 2)
        recorder.record(f"Question {number}?", "c", one, 0.01, other, 0.02)

    shown = invoke("compare", "--from-log", str(tmp_path / "log"))

    assert shown.status == 0
    assert "Version 2 agrees with version 1 on 0.0 % of 6 questions" in shown.out
    assert "differs: Question 0?" in shown.out
    report = json.loads(invoke("compare", "--from-log", str(tmp_path / "log"), "--json").out)
    assert report["versions"][0]["median_ms"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Name two versions"),
        (["1"], "Name two versions"),
        (["1", "1", "--serve"], "1 cannot be compared with itself"),
        (["1", "2"], "Type --data with questions"),
        (["1", "nowhere", "--serve"], "nowhere is neither a version's number nor a model"),
    ],
)
def test_wrong_usage_is_named(
    invoke: Invoke, served: Served, arguments: list[str], complaint: str
) -> None:
    result = invoke("compare", *arguments, "--url", served.rest_url)
    assert (result.status, result.out) == (2, "")
    assert complaint in result.err


def test_a_version_that_is_not_served_is_named(invoke: Invoke, served: Served, data: Path) -> None:
    result = invoke("compare", "1", "9", "--data", str(data), "--url", served.rest_url)
    assert result.status == 1
    assert "does not serve version 9" in result.err
