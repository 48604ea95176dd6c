from __future__ import annotations

from pathlib import Path

import pytest

from bertqa import Answer
from bertqa.client import Recorder
from bertqa.errors import DataError, ServerUnreachableError
from bertqa.evaluation import report_on_log


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
    assert shadow.agreement.estimate == 7 / 8
    assert shadow.agreement.low < 7 / 8 < shadow.agreement.high < 1
    assert shadow.score_difference.estimate == pytest.approx(0.1)
    assert shadow.median_ms == pytest.approx((10, 20))
    assert len(shadow.disagreements) == 1
    assert report.shadow_errors == {"ServerUnreachableError": 1}
    assert shadow.verdict.startswith("Version 2 agrees with version 1 on 87.5 % of 8 questions")
    assert report.to_dict()["shadows"][0]["verdict"] == shadow.verdict


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not hold an answer"),
        ("{", "line 1 cannot be read"),
        ('{"question": "q", "answer": {"version": 1}}', "line 1 cannot be read"),
        ("[]", "line 1 cannot be read"),
    ],
)
def test_a_file_that_is_not_a_log_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "log"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        report_on_log(path)
    with pytest.raises(DataError, match="cannot be read"):
        report_on_log(tmp_path / "missing")
