from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa import Answer
from bertqa.client import Recorder
from bertqa.errors import DataError, ServerUnreachableError
from bertqa.evaluation import follow_log, report_on_log


def answer(text: str, version: int, score: float = 0.5) -> Answer:
    return Answer(text, 0, len(text), score, version)


def test_a_log_of_split_traffic_keeps_the_versions_apart(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "log")
    for number in range(10):
        version = 1 + number % 2
        text = "" if number == 1 else "Berg"
        recorder.record(f"{number}?", "c", answer(text, version, 0.2 * version), 0.01 * version)

    report = report_on_log(tmp_path / "log")

    first, second = report.versions
    assert (first.version, first.questions, first.no_answer_percent) == (1, 5, 0)
    assert (second.questions, second.no_answer_percent) == (5, 20)
    assert first.median_ms == pytest.approx(10)
    assert second.p95_ms == pytest.approx(20)
    assert second.mean_score == pytest.approx(0.4)
    assert not report.shadows


@pytest.mark.parametrize("clear", [True, False])
def test_a_shadow_is_held_against_the_answer(tmp_path: Path, clear: bool) -> None:
    recorder = Recorder(tmp_path / "log", clear=clear)
    for number in range(8):
        other = "the berg" if number else "Rhine"
        recorder.record(f"{number}?", "c", answer("Berg", 1), 0.01, answer(other, 2, 0.6), 0.02)
    recorder.record("9?", "c", answer("Berg", 1), 0.01, ServerUnreachableError("gone"), 0.1)

    report = report_on_log(tmp_path / "log")

    (shadow,) = report.shadows
    assert (shadow.version, shadow.shadow, shadow.pairs) == (1, 2, 8)
    assert shadow.agreement.estimate == 87.5
    assert 10 < shadow.agreement.low < 87.5 < shadow.agreement.high < 100
    assert shadow.score_difference.estimate == pytest.approx(0.1)
    assert shadow.median_ms == pytest.approx((10, 20))
    assert len(shadow.disagreements) == 1
    assert report.shadow_errors == {"ServerUnreachableError": 1}
    assert shadow.verdict.startswith("Version 2 agrees with version 1 on 87.5 % of 8 questions")
    (plain,) = report.to_dict()["shadows"]
    assert plain["verdict"] == shadow.verdict
    assert plain["disagreements"][0]["answer"]["model_version"] == 1
    assert plain["disagreements"][0]["shadow"]["model_version"] == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not hold an answer"),
        ("{", "line 1 cannot be read"),
        ('{"question": "q", "answer": {"version": 1}}', "line 1 cannot be read"),
        ("[]", "line 1 cannot be read"),
        (
            '{"question": "q", "answer": {"version": 1, "text": "a", "score": NaN}}',
            "line 1 cannot be read .answer.score: .*finite",
        ),
    ],
)
def test_a_file_that_is_not_a_log_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "log"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        report_on_log(path)
    with pytest.raises(DataError, match="cannot be read"):
        report_on_log(tmp_path / "missing")


def lines(tmp_path: Path, *questions: str) -> list[str]:
    recorder = Recorder(tmp_path / "other", clear=True, contexts=True)
    for question in questions:
        recorder.record(question, "c", answer("Berg", 1))
    return (tmp_path / "other").read_text(encoding="utf-8").splitlines(keepends=True)


@pytest.mark.parametrize(
    ("at_first", "then"),
    [
        (lambda old, new: old + new[:20], lambda new: new[20:]),  # A client is at it.
        (lambda old, new: old + new[:20], lambda new: new),  # A client was killed at it.
        (lambda old, new: old + '{"at": "half', lambda new: "\n" + new),
        (lambda old, new: old, lambda new: "\n" + new),
    ],
)
def test_a_line_that_is_half_is_completed_or_skipped(
    tmp_path: Path, at_first: Callable[[str, str], str], then: Callable[[str], str]
) -> None:
    old, new = lines(tmp_path, "Old?", "New?")
    path = tmp_path / "log"
    path.write_text(at_first(old, new), encoding="utf-8")
    assert report_on_log(path).lines == 1

    time = 0.0

    def sleep(seconds: float) -> None:
        nonlocal time
        if not time:
            with path.open("a", encoding="utf-8") as file:
                file.write(then(new))
        time += seconds

    followed = follow_log(path, 1, sleep=sleep, now=lambda: time)
    assert [each.question for each in followed] == ["New?"]


def test_a_line_of_something_else_is_refused_while_it_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()

    def sleep(seconds: float) -> None:
        path.write_text("[]\n", encoding="utf-8")

    with pytest.raises(DataError, match="line 1 cannot be read"):
        list(follow_log(path, 1, sleep=sleep, now=lambda: 0))
