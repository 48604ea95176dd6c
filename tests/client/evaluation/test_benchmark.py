from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.errors import DataError
from bertqa.evaluation import time_loop, time_questions, time_stream
from tests.support.in_process import InProcessTransport

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "qa" / "golden" / "golden.json").read_text(encoding="utf-8")
)
PAIRS = [
    (case["question"], GOLDEN["contexts"][case["context"]])
    for case in GOLDEN["cases"]
    if not case["lengths"]
]


def test_each_step_of_a_question_is_timed() -> None:
    times = time_questions(InProcessTransport(), PAIRS[:40])
    assert times.questions == 40
    assert times.windows >= 1
    assert min(times.tokenizing, times.collating, times.transport, times.decoding) > 0
    assert min(times.own, times.own_on_new) > 0


def test_a_stream_of_squad_questions_has_little_padding() -> None:
    times = time_stream(InProcessTransport(), PAIRS, alone=InProcessTransport())
    assert times.questions == len(PAIRS)
    assert times.windows >= len(PAIRS)
    assert times.batches < times.windows / 4
    assert 0 < times.padding < 0.10
    assert times.windows_per_second > 0
    assert times.alone is not None
    assert times.alone > 0
    assert times.share == times.windows_per_second / times.alone


def test_the_share_of_an_engine_that_was_not_run_is_not_known() -> None:
    assert time_stream(InProcessTransport(), PAIRS[:40]).share is None


def test_what_a_long_context_does_to_other_tasks_is_measured() -> None:
    times = time_loop(InProcessTransport(), [PAIRS[0][1]], characters=200_000)
    assert times.characters == 200_000
    assert times.windows > 100
    assert times.seconds > 0
    assert times.longest >= times.p99 >= 0
    assert times.longest >= times.own > 0
    assert times.idle >= 0


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="no question"):
        time_questions(InProcessTransport(), [])
    with pytest.raises(DataError, match="no question"):
        time_stream(InProcessTransport(), [])
    with pytest.raises(DataError, match="no context"):
        time_loop(InProcessTransport(), [" "])
