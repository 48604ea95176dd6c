"""Requests that a `Recorder` wrote, asked again at their times by real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertqa.errors import DataError
from bertqa.load import LoadTest, Shape, System, recorded_traffic
from tests.client.load.test_measure import Api, serving

OTHERS = [("When?", "In 1932."), ("Who?", "It was Anna Berg.")]


def line(
    at: str, number: int, seconds: float | None = None, *, texts: bool = True
) -> dict[str, Any]:
    return {
        "at": f"2026-11-02T09:00:{at}+00:00",
        "question": f"question {number}",
        "context": f"context {number}",
        "can_be_asked": texts,
        "answer": {"version": 1, "text": "a", "score": 0.5, "seconds": seconds},
    }


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")
    return path


def test_requests_come_in_the_order_and_at_the_times_of_their_questions(tmp_path: Path) -> None:
    """The first to be answered was the second to be asked."""
    log = written(tmp_path / "log", line("02.000", 1, 0.5), line("03.000", 0, 2.0))
    pairs, arrivals = recorded_traffic(log)
    assert pairs == [("question 0", "context 0"), ("question 1", "context 1")]
    assert arrivals.times == pytest.approx((0.0, 0.5))
    assert recorded_traffic(log, speed=2.0)[1].times == pytest.approx((0.0, 0.25))


def test_what_was_hashed_has_other_questions_in_its_place(tmp_path: Path) -> None:
    lines = [line(f"0{each}.000", each, texts=each == 1) for each in range(4)]
    log = written(tmp_path / "log", *lines)
    pairs, _ = recorded_traffic(log, OTHERS)
    assert pairs == [OTHERS[0], ("question 1", "context 1"), OTHERS[1], OTHERS[0]]
    with pytest.raises(DataError, match="hashes in the place of texts for 3 of 4 requests"):
        recorded_traffic(log)


def test_a_log_without_times_or_requests_is_refused(tmp_path: Path) -> None:
    untimed = line("02.000", 1)
    del untimed["at"]
    with pytest.raises(DataError, match="request 2 lacks its time"):
        recorded_traffic(written(tmp_path / "untimed", line("01.000", 0), untimed))
    with pytest.raises(DataError, match="holds 1 requests"):
        recorded_traffic(written(tmp_path / "one", line("01.000", 0)))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_recorded_request_is_asked_once(tmp_path: Path, processes: int) -> None:
    lines = [line(f"{each / 10:06.3f}", each) for each in (0, 1, 5)]
    pairs, arrivals = recorded_traffic(written(tmp_path / "log", *lines))
    api = Api()
    test = LoadTest(pairs, warm_up=0.0, processes=processes)
    with serving(api) as target, System.opened(target, test) as system:
        found = system.stage(Shape(arrivals=arrivals))
    assert found.asked == found.answered == 3
    assert found.seconds == pytest.approx(0.5)
    assert sorted(api.questions)[-3:] == ["question 0", "question 1", "question 5"]
    assert api.asked == 3 + processes
    assert found.to_dict()["recorded_speed"] == 1.0
