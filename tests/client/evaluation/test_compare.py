from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from bertqa import Answer, QAClient
from bertqa._progress import Progress
from bertqa.errors import InvalidOptionError
from bertqa.evaluation import (
    Comparison,
    Disagreement,
    Metrics,
    SquadDataset,
    System,
    compare,
    comparison_page,
    evaluate,
    parse_squad,
)
from bertqa.evaluation._metrics import f1
from bertqa.evaluation._statistics import Interval, McNemar
from bertqa.qa import normalize
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

CONTEXT = "The bridge over the river was designed by Anna Berg and opened in 1932 by the king."
WORDS = CONTEXT.replace(".", "").split()


@pytest.fixture(scope="module")
def dataset() -> SquadDataset:
    questions = [
        {
            "id": f"q{number}",
            "question": f"What about {word}?",
            "answers": [{"text": word, "answer_start": CONTEXT.index(word)}],
        }
        for number, word in enumerate(WORDS)
    ]
    document = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    return parse_squad(document, "words.json")


@pytest.fixture(scope="module")
def client() -> Iterator[QAClient]:
    versions = dict.fromkeys((1, 2, 3), model_info())
    with QAClient(transport=InProcessTransport(versions)) as client:
        yield client


@pytest.fixture(scope="module")
def comparison(client: QAClient, dataset: SquadDataset) -> Comparison:
    return compare(
        System("version 1", client, 1, size=10_000_000), System("version 2", client, 2), dataset
    )


def test_without_scipy_nothing_is_asked(
    client: QAClient, dataset: SquadDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    asked: list[Progress] = []
    systems = System("version 1", client, 1), System("version 2", client, 2)
    with pytest.raises(ModuleNotFoundError, match="scipy"):
        compare(*systems, dataset, on_progress=asked.append)
    assert not asked


def test_the_scores_are_those_of_an_evaluation(
    comparison: Comparison, client: QAClient, dataset: SquadDataset
) -> None:
    for version, system in zip((1, 2), comparison.metrics, strict=True):
        scores = evaluate(client, dataset, version=version)
        assert (system.f1, system.exact_match) == pytest.approx((scores.f1, scores.exact_match))
        assert 0 < (system.median_ms or 0) <= (system.p95_ms or 0)
        assert (system.questions_per_second or 0) > 0
    first, second = comparison.metrics
    assert comparison.f1_difference.estimate == pytest.approx(second.f1 - first.f1)
    assert (first.size, second.size) == (10_000_000, None)


def test_what_differs_is_listed_worst_first(comparison: Comparison, dataset: SquadDataset) -> None:
    changes = [each.f1[1] - each.f1[0] for each in comparison.disagreements]
    assert changes == sorted(changes)
    for each in comparison.disagreements:
        one, other = each.answers
        assert normalize(one.text) != normalize(other.text)
        assert each.context[one.start : one.end] == one.text
        assert (one.model_version, other.model_version) == (1, 2)
        in_percent = [100 * f1(answer.text, each.golds) for answer in each.answers]
        assert each.f1 == pytest.approx(in_percent)
    share = 1 - len(comparison.disagreements) / len(dataset)
    assert comparison.agreement == pytest.approx(100 * share)


def test_the_same_model_twice_agrees_with_itself(client: QAClient, dataset: SquadDataset) -> None:
    with QAClient(transport=InProcessTransport({1: model_info()})) as other:
        comparison = compare(System("one", client, 1), System("other", other, 1), dataset)
    assert comparison.agreement == 100
    assert not comparison.disagreements
    assert comparison.verdict.startswith(
        "No difference beyond chance: the F1 of other is 0.00 points above"
    )
    assert "Both have the same questions exactly right." in comparison.verdict


def test_a_version_is_not_compared_with_itself(client: QAClient, dataset: SquadDataset) -> None:
    with pytest.raises(InvalidOptionError, match="Version 1 cannot be compared with itself"):
        compare(System("version 1", client, 1), System("version 1", client, 1), dataset)


def test_the_verdict_says_which_is_better_and_how_sure_that_is(comparison: Comparison) -> None:
    better = replace(
        comparison,
        f1_difference=Interval(2.5, 1.25, 3.75),
        exact_match_test=McNemar(1, 20, 0.00002),
    )
    assert better.verdict == (
        "Version 2 is better than version 1: its F1 is 2.50 points higher (95 % interval +1.25 to "
        "+3.75). Version 1 alone is exactly right on 1 question, version 2 alone on 20; chance "
        "makes that as uneven in less than 0.1 % of cases (McNemar's exact test)."
    )
    worse = replace(better, f1_difference=Interval(-2.5, -3.75, -1.25))
    assert worse.verdict.startswith(
        "Version 2 is worse than version 1: its F1 is 2.50 points lower"
    )


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    evil = "<script>alert(1)</script> & co"
    answers = Answer("<script>", 0, 8, 0.5, 1), Answer("", 0, 0, 0.25, 2)
    system = Metrics("version <1>", 50.0, 60.0, 1.0, 2.0, 3.0, None)
    page = comparison_page(
        Comparison(
            "data & caf\udce9.json",  # A name that is not UTF-8.
            1,
            (system, replace(system, name="version 2")),
            0.0,
            Interval(-1.0, -2.0, 0.5),
            McNemar(1, 0, 1.0),
            [Disagreement("q", evil, evil, [], answers, (1.0, 0.0))],
        )
    )
    assert "<script" not in page
    assert b"data &amp; caf\\udce9.json" in page.encode()
    assert "<mark>&lt;script&gt;</mark>alert(1)&lt;/script&gt; &amp; co" in page
    assert "Version 2: no answer" in page
    assert "the text does not say" in page
    assert not re.findall(r"(?:src|href)=|url\(|@import", page)


def test_the_page_says_what_was_compared_when_and_shows_the_difference(
    comparison: Comparison,
) -> None:
    first, second = comparison.metrics
    about = replace(second, about="INT8, from model_repository/bert-qa/2")
    shown = replace(
        comparison,
        metrics=(first, about),
        f1_difference=Interval(-1.0, -2.0, 0.5),
        made="2026-11-28T18:00:00+00:00",
    )
    page = comparison_page(shown)
    assert "INT8, from model_repository/bert-qa/2" in page
    assert "compared 2026-11-28 18:00:00 UTC" in page
    assert 'aria-label="F1 of version 2 less that of version 1: -1.00, 95 % interval -2.00' in page
    ((low, high),) = re.findall(r'class="span" x1="([0-9.]+)" x2="([0-9.]+)"', page)
    (estimate,) = re.findall(r'<circle cx="([0-9.]+)"', page)
    assert float(low) < float(estimate) < 300 < float(high)
    assert datetime.fromisoformat(comparison.made).tzinfo is not None


def test_disagreements_are_sorted_into_what_is_worse_better_and_alike(
    comparison: Comparison,
) -> None:
    answers = Answer("a", 0, 1, 0.5, 1), Answer("b", 0, 1, 0.5, 2)
    scores = [(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.0, 0.0)]
    page = comparison_page(
        replace(
            comparison,
            disagreements=[
                Disagreement(str(n), "?", "ab", ["a"], answers, f1) for n, f1 in enumerate(scores)
            ],
        )
    )
    assert re.findall(r'<details class="card (\w+)"', page) == ["worse", "worse", "better", "alike"]
    assert "version 2 is worse (2)" in page
    assert "version 2 is better (1)" in page
    assert "main:has(#worse:checked) details:not(.worse) { display: none; }" in page
