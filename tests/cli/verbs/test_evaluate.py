from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from tests.cli.conftest import Invoke
from tests.support.engines import Served

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"


@pytest.fixture
def few_questions(tmp_path: Path) -> Path:
    """The first article of the bundled sample."""
    document = json.loads(DATA.read_text(encoding="utf-8"))
    document["data"] = document["data"][:1]
    path = tmp_path / "few.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_a_published_version_gets_the_scores_of_its_card(
    invoke: Invoke, demo_repository: Repository
) -> None:
    result = invoke(
        *("evaluate", "--version", "2", "--data", str(DATA), "--json"),
        *("--repository", str(demo_repository.root)),
    )

    scores, manifest = json.loads(result.out), demo_repository.manifest(2)
    assert manifest.scores is not None
    assert scores["questions"] == manifest.scores.questions
    assert scores["f1"] == pytest.approx(manifest.scores.f1, abs=0.2)
    assert scores["exact_match"] == pytest.approx(manifest.scores.exact_match, abs=0.6)


def test_a_served_version_scores_as_the_published_one(
    invoke: Invoke, served: Served, few_questions: Path
) -> None:
    evaluate = ["evaluate", "--version", "1", "--data", str(few_questions), "--json"]

    over_rest = invoke(*evaluate, "--url", served.rest_url)
    in_process = invoke(*evaluate, "--repository", str(served.repository))

    assert json.loads(over_rest.out) == json.loads(in_process.out)


def test_people_get_a_table(invoke: Invoke, served: Served, few_questions: Path) -> None:
    result = invoke("evaluate", "--data", str(few_questions), "--url", served.rest_url)

    assert result.status == 0
    assert "exact match" in result.out
    assert "few.json" in result.out or "few" in result.out


def test_data_that_is_not_there_is_refused_before_the_server_is_asked(
    invoke: Invoke, free_port: int
) -> None:
    result = invoke("evaluate", "--data", "absent.json", "--url", f"http://127.0.0.1:{free_port}")

    assert result.status == 2
    assert "absent.json" in result.err


def test_a_version_that_is_not_published_is_named_with_those_that_are(
    invoke: Invoke, served: Served, few_questions: Path
) -> None:
    result = invoke(
        *("evaluate", "--version", "9", "--data", str(few_questions)),
        *("--repository", str(served.repository)),
    )

    assert result.status == 1
    assert "has no version 9 of bert-qa (published: 1, 2)" in result.err
