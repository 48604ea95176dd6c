"""Versions are timed in turns, longer where other programs get in the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bertqa_build.pruning import measured
from bertqa_build.pruning.blocks import Encoder
from bertqa_build.pruning.latency import place_here
from bertqa_build.pruning.measured import is_certain, milliseconds_of
from tests.support.models import write_toy_version

PLACE = place_here(
    Encoder(hidden=8, heads=2, neurons=16), batch=1, tokens=16, precision="FP32", threads=1
)
QUIET = [10.0, 10.1, 10.2] + 22 * [12.0]
NOISY = [10.0, 15.0, 16.0] + 22 * [30.0]


@pytest.mark.parametrize(("times", "certain"), [(QUIET, True), (NOISY, False)])
def test_a_least_time_is_certain_where_it_was_seen_thrice(
    times: list[float], certain: bool
) -> None:
    assert is_certain(times) == certain


@pytest.mark.parametrize(
    ("rounds", "turns", "warns"),
    [([QUIET], 25, False), ([NOISY, QUIET], 50, False), (4 * [NOISY], 100, True)],
)
def test_it_is_timed_until_that_is_so_and_warned_of_where_it_never_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rounds: list[list[float]],
    turns: int,
    warns: bool,
) -> None:
    taken = 0
    scales = iter([1.0, 1.1, 1.2, 1.3])

    def take(calls: Mapping[str, Callable[[], float]], number: int) -> dict[str, list[float]]:
        nonlocal taken
        scale = next(scales) if warns else 1.0
        times = [scale * each for each in rounds[taken // 25]]
        taken += number
        return {name: [2 * each / 1000 for each in times] for name in calls}

    monkeypatch.setattr(measured, "take_turns", take)
    ir = write_toy_version(tmp_path, 1) / "model.xml"
    with caplog.at_level(logging.WARNING):
        assert milliseconds_of({"a": ir}, PLACE) == {"a": pytest.approx(20.0)}
    assert taken == turns
    assert ("may be wrong" in caplog.text) == warns


def test_a_file_is_timed_in_milliseconds(tmp_path: Path) -> None:
    ir = write_toy_version(tmp_path, 1) / "model.xml"
    found = milliseconds_of({"a": ir}, PLACE)
    assert 0 < found["a"] < 1000
